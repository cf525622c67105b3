"""Each command that README shows can be typed as it stands, and none is passed over in silence."""

import itertools
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest
import typer

from teleprefetch.cli import app
from teleprefetch.edge.audit.lane import Lane
from teleprefetch.edge.audit.log import AuditLog
from teleprefetch.local import demo_input
from tests.audit_builders import NODE, START, a_record

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    *(ROOT / "shared/docs" / f"{name}.md" for name in ("access", "console", "deploying")),
]
TEXT = "\n".join(path.read_text() for path in PAGES)
KNOWN: dict[str, dict[str, str]] = tomllib.loads(
    (Path(__file__).parent / "readme_commands.toml").read_text()
)
ALL_KNOWN = {words: (how, why) for how, every in KNOWN.items() for words, why in every.items()}
_BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")
_COMMAND = re.compile(
    r"(uv run|teleprefetch|python -m|sam|apt-get|pip|podman|[A-Z_]+=\S+ uv run) [a-z-]"
)


@dataclass(frozen=True)
class Shown:
    """A command without `uv run`; whole in a block, and maybe its name alone in a sentence."""

    text: str
    is_whole: bool

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text)


def _shown() -> Iterator[Shown]:
    for block in _BLOCK.findall(TEXT):
        for line in block.splitlines():
            for part in line.partition(" #")[0].split(" && "):
                if part.strip():
                    yield from _variants(part, is_whole=True)
    for text in _INLINE.findall(_BLOCK.sub("", TEXT)):
        if _COMMAND.match(text):
            yield from _variants(text, is_whole=False)


def _variants(text: str, *, is_whole: bool) -> Iterator[Shown]:
    """One for each choice of `a|b`; what may be left out, in brackets, is there."""
    text = re.sub(r"^(?:[A-Z_]+=\S+ )?uv run ", "", text.strip()).replace(r"\|", "|")
    text = re.sub(r"(?<=\s)\[([^\]]*)\]", r"\1", text)
    choices = [word.split("|") for word in text.split(" ")]
    for words in itertools.product(*choices):
        yield Shown(" ".join(words), is_whole)


SHOWN = sorted(set(_shown()), key=lambda one: one.text)


def _entry(text: str) -> str | None:
    """The longest of the known words that a command begins with."""
    found = [words for words in ALL_KNOWN if re.match(rf"{re.escape(words)}(?![\w-])", text)]
    return max(found, key=len, default=None)


@pytest.mark.parametrize("shown", SHOWN, ids=lambda one: one.text)
def test_something_is_done_about_each_command(shown: Shown) -> None:
    assert _entry(shown.text) is not None, "say in readme_commands.toml what"


def test_readme_shows_commands_in_blocks_and_in_sentences() -> None:
    assert len([one for one in SHOWN if one.is_whole]) > 10
    assert len([one for one in SHOWN if not one.is_whole]) > 10


def test_what_is_said_to_prove_a_command_is_there() -> None:
    assert [path for path in KNOWN["proven"].values() if not (ROOT / path).is_file()] == []


def _leaves(command: object) -> Iterator[object]:
    commands = getattr(command, "commands", None)
    if commands is None:
        yield command
        return
    for one in commands.values():
        yield from _leaves(one)


def _parsed(words: list[str]) -> None:
    """Have the command line read as it would be, and do nothing."""
    command = typer.main.get_command(app)
    for leaf in _leaves(command):
        leaf.callback = lambda **_: None  # type: ignore[attr-defined]
    command.main(words, prog_name="teleprefetch")


OURS = [one for one in SHOWN if one.words[0] == "teleprefetch"]


@pytest.mark.parametrize("shown", OURS, ids=lambda one: one.text)
def test_a_command_of_ours_has_these_options(
    shown: Shown, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELEPREFETCH_STACK", "prod")
    # in a sentence `--rules` may stand for itself and its file
    words = shown.words[1:] if shown.is_whole else [*shown.words[1:], "VALUE"]
    attempts = [words] if shown.is_whole else [words[:-1], words]
    codes = {_code(attempt) for attempt in attempts}

    told = capsys.readouterr().err
    is_named_alone = not shown.is_whole and "Missing " in told
    assert 0 in codes or is_named_alone, told


def _code(words: list[str]) -> int:
    with pytest.raises(SystemExit) as ended:
        _parsed(words)
    return int(ended.value.code or 0)


BENCHMARKS = [one for one in SHOWN if one.text.startswith("python -m tests.")]


@pytest.mark.parametrize("shown", BENCHMARKS, ids=lambda one: one.text)
def test_a_benchmark_has_these_options(shown: Shown) -> None:
    command = [sys.executable, *shown.words[1:3], "--help"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    options = [word for word in shown.words[3:] if word.startswith("--")]
    assert [option for option in options if option not in told] == []


def test_pytest_is_shown_with_files_that_are_there() -> None:
    named = [word for one in SHOWN if one.words[0] == "pytest" for word in one.words[1:]]

    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What stands for the words in capitals."""
    folder = tmp_path_factory.mktemp("readme")
    demo_input.made_up(folder / "all", today=date(2026, 11, 25), scale=0.05)
    log = AuditLog(Lane(folder / "audit", node=NODE, name="worker"), clock=lambda: START)
    detail = {"rank": 0, "frames": 4, "bytes": 4_000_000, "modality": "CT"}
    log.commit(a_record(kind="warmed", study="1.1", series="1.1.1", detail=detail))
    log.commit(a_record(study="1.1", series="1.1.1", frames="1-2", size_bytes=2_000_000))
    log.close()
    (folder / "patients.csv").write_text("study_instance_uid,patient_id,issuer\n1.1,P1,\n")
    return {
        "FOLDER": str(folder / "all"),
        "AUDIT_FOLDER": str(folder / "audit"),
        "DIR": str(folder / "audit"),
        "PATH": str(folder / "key.pem"),
        "study=UID": "study=1.1",
        "CSV": str(folder / "patients.csv"),
    }


def _to_run() -> list[Shown]:
    known = [(one, _entry(one.text)) for one in SHOWN]
    return [one for one, entry in known if entry is not None and ALL_KNOWN[entry][0] == "run"]


@pytest.mark.parametrize("shown", _to_run(), ids=lambda one: one.text)
def test_a_command_that_needs_nothing_else_runs_as_written(
    shown: Shown, filled: dict[str, str], tmp_path: Path
) -> None:
    command = [str(Path(sys.executable).parent / "teleprefetch")]
    command += [filled.get(word, word) for word in shown.words[1:]]
    without_aws = {name: value for name, value in os.environ.items() if "AWS" not in name}

    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=without_aws | {"AWS_EC2_METADATA_DISABLED": "true"},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout


def test_each_command_that_is_to_run_is_shown() -> None:
    run = {_entry(one.text) for one in _to_run()}

    assert run == KNOWN["run"].keys()
