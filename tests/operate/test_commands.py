"""The commands as such: options, exit codes, JSON, no colour; on the shipped template on moto."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from teleprefetch import runtime
from teleprefetch.cli import app
from teleprefetch.domain.times import WRITTEN
from teleprefetch.local.aws import LocalAws
from teleprefetch.run_records import Run
from tests.builders import DATASTORE_ID

pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse AWS")

OPERATORS = (
    "status", "find", "why", "doctor", "replay", "warm", "purge", "reconcile", "drain", "assign",
)  # fmt: skip
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    log_path: Path = tmp_path_factory.mktemp("aws") / "functions.log"
    with LocalAws(log_path=log_path) as aws:
        aws.deploy({"DatastoreId": DATASTORE_ID, "ImportOutputBucket": "output"})
        for number in range(3):
            runtime.runs().record(
                Run(
                    run_id=f"study-{number}", kind="prefetch", outcome="partial",
                    at=datetime.now(UTC) - timedelta(hours=number), study_instance_uid="1.2.3",
                    reading_location="home", origin_id=DATASTORE_ID,
                    cause="node-a lost: [bold]States.Timeout[/bold]",
                )
            )  # fmt: skip
        yield aws


def run(*arguments: str, **environment: str | None) -> Any:
    given: dict[str, str | None] = {"TELEPREFETCH_STACK": "local", "NO_COLOR": "1"}
    return CliRunner().invoke(app, list(arguments), env=given | environment)


@pytest.mark.parametrize("name", OPERATORS)
def test_each_command_has_json_and_tells_its_exit_codes(name: str) -> None:
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    options = {option for parameter in command.params for option in parameter.opts}

    assert {"--json", "--stack"} <= options
    help_text = " ".join(command.help.split())
    assert "Exit code 0:" in help_text
    assert " 1: " in help_text
    assert " 2: " in help_text
    assert all(parameter.help for parameter in command.params)


@pytest.mark.parametrize("name", ["status", "find", "doctor", "reconcile"])
def test_without_a_stack_a_command_says_how_to_name_one(name: str) -> None:
    done = run(name, TELEPREFETCH_STACK=None)

    assert done.exit_code == 2
    assert "--stack: missing" in done.stderr
    assert "TELEPREFETCH_STACK" in done.stderr


def test_a_stack_that_is_not_there_is_a_misuse_without_a_traceback(aws: LocalAws) -> None:
    done = run("status", "--stack", "nothing")

    assert done.exit_code == 2
    assert done.stderr.startswith("teleprefetch: stack nothing: ")


def test_found_runs_are_one_object_and_nothing_else(aws: LocalAws) -> None:
    done = run("find", "--outcome", "partial", "--json")

    assert done.exit_code == 0
    runs = json.loads(done.stdout)["runs"]
    assert [one["run_id"] for one in runs] == ["study-0", "study-1", "study-2"]
    assert json.loads(run("find", "--since", "90m", "--json").stdout)["runs"] == runs[:2]


def test_nothing_found_is_said_and_is_exit_code_1(aws: LocalAws) -> None:
    done = run("find", "--reader", "nobody")

    assert done.exit_code == 1
    assert "nothing is recorded that agrees with all of this" in done.stdout


def test_what_others_wrote_is_no_markup_and_no_colour_is_none(aws: LocalAws) -> None:
    done = run("find", "--study", "1.2.3")

    assert "node-a lost: [bold]States.Timeout[/bold]" in done.stdout
    assert "\x1b[" not in done.stdout
    assert "\x1b[" not in run("doctor").stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("find", "--outcome", "lukewarm"), "options.outcome: "),
        (("find", "--study", "1.2.x"), "options.study_instance_uid: "),
        (("find", "--since", "yesterday"), "--since: neither"),
        (("find", "--until", "2026-11-24T25:00:00"), "--until: neither"),
        (("find", "--event", "not an id"), "options.event_id: "),
        (("replay", "--status", "BROKEN", "--dry-run"), "--status: one or more of RUNNING"),
        (("replay", "--outcome", "lukewarm", "--dry-run"), "--outcome: one or more of"),
        (("replay",), "--reason: missing"),
        (("warm", "1.2.x", "--location", "home", "--reason", "r"), "STUDY: not a DICOM UID"),
        (("warm", "1.2.3", "--location", "away", "--reason", "r"), "reading_location: "),
        (("warm", "1.2.3", "--location", "home", "--origin", "x", "--reason", "r"), "--origin: "),
        (("purge", "--reason", "r"), "STUDY, --image-set: one of them"),
        (
            ("purge", "--image-set", "a" * 32, "--node", "x", "--reason", "r", "--yes"),
            "--node: not in ROUTING.nodes",
        ),
        (("drain", "node-x", "--reason", "r"), "NODE: not in ROUTING.nodes"),
        (("drain", "node-a"), "--reason: missing"),
        (("why", "nothing"), "WHAT: no study, run, assignment or event"),
    ],
)
def test_a_wrong_option_is_named_and_is_exit_code_2(
    aws: LocalAws, arguments: tuple[str, ...], said: str
) -> None:
    done = run(*arguments)

    assert done.exit_code == 2, done.stdout
    assert said in done.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("not an order", "MSH: "),
        ("{", "ORDER: not JSON"),
        ('{"resourceType": "Patient"}', "resourceType: "),
    ],
)
def test_an_order_that_is_none_is_named_and_is_exit_code_2(
    aws: LocalAws, tmp_path: Path, content: str, said: str
) -> None:
    order = tmp_path / "order"
    order.write_text(content)

    done = run("assign", str(order), "--location", "home")

    assert done.exit_code == 2
    assert said in done.stderr
    assert run("assign", str(order), "--location", "away").exit_code == 2
    assert "ORDER: cannot" in run("assign", str(tmp_path / "no"), "--location", "home").stderr


def test_a_replay_of_what_failed_tells_that_nothing_did(aws: LocalAws) -> None:
    done = run("replay", "--dry-run", "--json")

    assert done.exit_code == 0
    assert json.loads(done.stdout) == {"dry_run": True, "replays": []}


def test_a_replay_that_is_refused_is_exit_code_1_with_the_reason(aws: LocalAws) -> None:
    done = run("replay", "study-0", "--mode", "redrive", "--reason", "r", "--json")

    assert done.exit_code == 1
    [refused] = json.loads(done.stdout)["replays"]
    assert refused["action"] == "refuse"
    assert "Step Functions does not remember the execution" in refused["why"]


def test_who_acts_is_the_identity_of_the_credentials_unless_said(aws: LocalAws) -> None:
    run("drain", "node-a", "--reason", "disk")
    run("drain", "node-a", "--undo", "--reason", "new disk", "--as", "nina")

    runs = json.loads(run("find", "--kind", "command", "--json").stdout)["runs"]
    assert [(one["by"][:11], one["reason"]) for one in runs] == [
        ("nina", "new disk"), ("arn:aws:sts", "disk"),
    ]  # fmt: skip


def test_a_purge_that_is_not_confirmed_orders_nothing(aws: LocalAws) -> None:
    arguments = ["purge", "--image-set", "a" * 32, "--reason", "r"]
    done = CliRunner().invoke(app, arguments, input="n\n", env={"TELEPREFETCH_STACK": "local"})

    assert done.exit_code == 1
    assert json.loads(run("status", "--json").stdout)["nodes"][0]["orders_waiting"] == 0


def _times(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    for name, each in getattr(command, "commands", {}).items():
        yield from _times(each, (*path, name))
    for parameter in command.params:
        if parameter.name in {"since", "until"}:
            yield " ".join((*path, parameter.name)), parameter.help


def test_each_option_that_is_a_time_says_how_one_is_written() -> None:
    times = dict(_times(typer.main.get_command(app)))

    assert {"status since", "find until", "audit query since", "audit verify until", "worth since",
            "what-if until", "replay since"} <= times.keys()  # fmt: skip
    assert [name for name, told in times.items() if WRITTEN not in told] == []


@pytest.mark.parametrize("text", ["90m", "2026-11-24", "2026-11-24T10:00:00"])
def test_operators_commands_and_audits_read_times_alike(
    aws: LocalAws, tmp_path: Path, text: str
) -> None:
    assert run("find", "--since", text).exit_code in {0, 1}
    read = run("audit", "query", str(tmp_path), "--since", text, "--copy")
    assert "no lane in this folder" in read.stderr


def test_a_study_is_found_and_told_by_the_event_that_all_came_of(aws: LocalAws) -> None:
    event_id = "6a7e8feb-b491-4cf7-a9f1-bf3703467718"
    for run_id, kind in (("imp-9", "import"), ("study-9", "prefetch"), ("warm-9", "warm")):
        about = {"run_id": run_id, "kind": kind, "at": NOW, "event_id": event_id, "outcome": "warm"}
        study = {} if kind == "import" else {"study_instance_uid": "1.2.9"}
        runtime.runs().record(Run.parse(about | study))

    found = json.loads(run("find", "--event", event_id, "--json").stdout)["runs"]
    assert {one["run_id"] for one in found} == {"imp-9", "study-9", "warm-9"}
    by_event = run("why", event_id, "--json")
    assert by_event.exit_code == 0
    story = json.loads(by_event.stdout)
    assert (story["study_instance_uid"], story["event_id"]) == ("1.2.9", event_id)
    assert {moment["event_id"] for moment in story["moments"]} == {event_id}
    assert f"event of the newest prefetch: {event_id}" in run("why", "1.2.9").stdout


def test_an_event_of_several_studies_is_no_answer_to_why(aws: LocalAws) -> None:
    for number in (1, 2):
        about = {"run_id": f"study-of-two-{number}", "kind": "prefetch", "at": NOW,
                 "outcome": "warm", "study_instance_uid": f"1.2.2.{number}"}  # fmt: skip
        runtime.runs().record(Run.parse(about | {"event_id": "of-two"}))

    done = run("why", "of-two")

    assert done.exit_code == 2
    assert "WHAT: 2 studies came of that event; find --event" in done.stderr
