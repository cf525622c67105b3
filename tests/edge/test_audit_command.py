"""`teleprefetch audit` and `teleprefetch policy` as an operator runs them."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from teleprefetch.adapters.checkpoints import FolderCheckpoints
from teleprefetch.cli import app
from teleprefetch.domain.audit.questions import Question, answers, never_viewed
from teleprefetch.edge.audit.checkpointing import Checkpointer
from teleprefetch.edge.audit.lane import Lane
from teleprefetch.edge.audit.log import AuditLog
from teleprefetch.edge.audit.reading import entries
from teleprefetch.edge.audit.signing import make_key, signer
from teleprefetch.edge.policy.files import DEFAULT_FOLDER
from teleprefetch.edge.policy.reading_list import ReadingList
from tests.audit_builders import LANE, NODE, START, a_record, an_entry
from tests.audit_schemas import check_dicom, check_fhir
from tests.policy_builders import ISSUER, PRIOR, STUDY, a_reading

RUNNER = CliRunner()


def run(*arguments: object):
    return RUNNER.invoke(app, [str(each) for each in arguments])


class Node:
    """A node's audit of two lanes with checkpoints, made by the real thing."""

    def __init__(self, root: Path) -> None:
        self.folder, self.sink = root / "audit", root / "sink"
        self.key = make_key(root / "key.pem")
        self.time = START
        worker = [
            a_record(kind="warmed", subject="", token="", series="1.2.840.1.1"),
            a_record(kind="warmed", subject="", token="", series="1.2.840.1.2"),
            a_record(kind="purged", subject="", token="", reason="Image Set Deleted"),
        ]
        self._lane("worker", worker)
        self._lane(LANE, [a_record(request=f"r-{n}", subject=f"reader-{n % 2}") for n in range(4)])

    def _lane(self, name: str, records) -> None:
        log = AuditLog(Lane(self.folder, node=NODE, name=name), clock=lambda: self.time)
        points = Checkpointer(
            log,
            folder=self.folder / name,
            node=NODE,
            lane=name,
            sign=signer(self.key.with_suffix("")),
            sink=FolderCheckpoints(self.sink),
            clock=lambda: self.time,
        )
        for record in records:
            log.commit(record)
            self.time += timedelta(seconds=10)
        log.close()
        points.close()

    def segment(self, lane: str = LANE) -> Path:
        return next((self.folder / lane).glob("*.jsonl"))

    def verify(self, *more: object):
        return run(
            "audit", "verify", self.folder, "--key", self.key, "--checkpoints", self.sink, *more
        )


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_verify_says_that_a_log_is_sound_and_complete(node: Node) -> None:
    told = node.verify("--since", START.isoformat(), "--until", START.isoformat())
    assert told.exit_code == 0, told.output
    assert "11 records in 2 lanes" in told.output
    assert "complete" in told.output


def test_verify_names_the_first_bad_record_by_file_and_line(node: Node) -> None:
    path = node.segment()
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b"reader-1", b"reader-7")
    path.write_bytes(b"".join(lines))
    told = node.verify()
    assert told.exit_code == 1
    assert f"first bad record: lane {LANE}, record 3 ({LANE}/{path.name}:3): edited" in told.output
    document = json.loads(node.verify("--json").output)
    assert document["sound"] is False
    assert (document["findings"][0]["fault"], document["findings"][0]["record"]) == ("edited", 3)


def test_verify_finds_a_cut_tail_with_checkpoints_alone(node: Node) -> None:
    path = node.segment()
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-2]))
    without = run("audit", "verify", node.folder)
    assert without.exit_code == 0
    assert "a cut end cannot be seen" in without.output
    told = node.verify()
    assert told.exit_code == 1
    assert "tail cut: records 5 to 6 were there" in told.output


def test_verify_finds_a_lane_that_is_gone(node: Node) -> None:
    node.segment("worker").unlink()
    told = node.verify()
    assert told.exit_code == 1
    assert "lane worker, record 1 (log): lane missing" in told.output


def test_verify_does_not_call_complete_what_no_checkpoint_covers(node: Node) -> None:
    late = (START + timedelta(hours=1)).isoformat()
    told = node.verify("--since", START.isoformat(), "--until", late)
    assert told.exit_code == 1
    assert "no checkpoint was made after the time" in told.output


def test_verify_takes_the_checkpoints_beside_the_log_if_no_others_are_named(node: Node) -> None:
    told = run("audit", "verify", node.folder, "--key", node.key, "--json")
    assert told.exit_code == 0, told.output
    assert {lane["checkpoints"] for lane in json.loads(told.output)["lanes"]} == {1}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--since", "yesterday", "--until", "today"), "--since: neither"),
        (("--since", "2026-11-24"), "go together"),
        (("--key", "nothing.pub"), "no readable public key"),
    ],
)
def test_verify_refuses_options_that_are_wrong(node: Node, arguments, said: str) -> None:
    told = run("audit", "verify", node.folder, *arguments)
    assert told.exit_code == 2
    assert said in told.output


def test_a_folder_without_an_audit_is_refused(tmp_path: Path) -> None:
    told = run("audit", "verify", tmp_path)
    assert told.exit_code == 2
    assert "no lane" in told.output


def test_a_query_answers_and_is_itself_recorded(node: Node) -> None:
    told = run(
        "audit", "query", node.folder, "--where", f"study={STUDY}", "--where", "subject=reader-1",
        "--where", "kind=served", "--as", "auditor-1", "--json",
    )  # fmt: skip
    assert told.exit_code == 0, told.output
    lines = [json.loads(line) for line in told.output.splitlines()]
    assert [line["record"]["event"]["request"] for line in lines] == ["r-1", "r-3"]
    (read,) = [e.event for e in entries(node.folder) if e.event.kind == "audit-read"]
    assert read.subject == "auditor-1"
    assert STUDY in read.reason


def test_a_query_of_a_copy_leaves_it_as_it_is(node: Node) -> None:
    before = sorted(str(path) for path in node.folder.rglob("*"))
    told = run("audit", "query", node.folder, "--copy", "--where", "kind=purged")
    assert told.exit_code == 0
    assert "Image Set Deleted" in told.output
    assert sorted(str(path) for path in node.folder.rglob("*")) == before


def test_what_was_warmed_and_never_viewed_is_told(node: Node) -> None:
    told = run("audit", "query", node.folder, "--copy", "--never-viewed", "--json")
    (line,) = told.output.splitlines()
    assert json.loads(line)["record"]["event"]["series"] == "1.2.840.1.2"


def test_a_condition_on_an_unknown_field_is_refused(node: Node) -> None:
    told = run("audit", "query", node.folder, "--copy", "--where", "colour=red")
    assert told.exit_code == 2
    assert "colour" in told.output


@pytest.mark.parametrize("form", ["dicom", "fhir"])
def test_an_export_is_one_valid_document_a_line_with_patients_as_given(
    node: Node, form: str, tmp_path: Path
) -> None:
    (tmp_path / "patients.csv").write_text(f"{STUDY},MRN-7\n")
    told = run(
        "audit", "export", node.folder, "--format", form, "--copy",
        "--patients", tmp_path / "patients.csv",
    )  # fmt: skip
    assert told.exit_code == 0, told.output
    lines = told.output.splitlines()
    assert len(lines) == 11
    for line in lines:
        check_dicom(line) if form == "dicom" else check_fhir(json.loads(line))
    assert told.output.count("MRN-7") == 7


def test_a_key_is_made_and_is_not_made_twice(tmp_path: Path) -> None:
    assert run("audit", "key", tmp_path / "k").output.strip() == str(tmp_path / "k.pub")
    assert run("audit", "key", tmp_path / "k").exit_code == 2


@pytest.mark.parametrize(
    ("question", "is_asked_for"),
    [
        ({}, True),
        ({"study": STUDY}, True),
        ({"study": PRIOR}, False),
        ({"policy": "assigned"}, True),
        ({"policy": "break-glass"}, False),
        ({"kind": "served", "source": "hit", "client": "10.0.0.7"}, True),
        ({"source": "origin"}, False),
        ({"token": "jti:abc-1", "order": "assigned-1", "assignment": "A-1"}, True),
        ({"kind": "refused"}, False),
        ({"since": START, "until": START}, True),
        ({"since": START + timedelta(microseconds=1)}, False),
        ({"until": START - timedelta(microseconds=1)}, False),
    ],
)
def test_a_question_asks_for_all_that_agrees_with_it(question, is_asked_for: bool) -> None:
    assert bool(list(answers(Question(**question), [an_entry()]))) is is_asked_for


def test_metadata_or_frames_of_a_series_count_as_viewed_and_a_search_does_not() -> None:
    warmed = an_entry(a_record(kind="warmed"))
    assert never_viewed([warmed, an_entry(a_record(action="search"))]) == (warmed,)
    assert never_viewed([warmed, an_entry(a_record(action="metadata"))]) == ()
    assert never_viewed([an_entry(a_record()), warmed]) == (warmed,)
    assert never_viewed([warmed, an_entry(a_record(kind="break-glass"))]) == ()
    assert never_viewed([warmed, an_entry(a_record(kind="refused"))]) == (warmed,)


def test_policy_check_names_the_policies_or_the_fault(tmp_path: Path) -> None:
    fine = run("policy", "check")
    assert fine.exit_code == 0
    assert "operators-see-no-patients" in fine.output
    (tmp_path / "x.cedar").write_text("\n\npermit (principal, action, resource)")
    faulty = run("policy", "check", "--policies", tmp_path)
    assert faulty.exit_code == 1
    assert "x.cedar:3" in faulty.output


def why(*more: object):
    return run(
        "policy", "why", "--principal", f"{ISSUER}#reader-1", "--action", "frames",
        "--site", "home", *more,
    )  # fmt: skip


def test_policy_why_names_what_decided(tmp_path: Path) -> None:
    mine = why("--resource", STUDY, "--assigned-to", f"{ISSUER}#reader-1")
    assert (mine.exit_code, mine.output.strip()) == (0, "allowed by assigned")
    nobodys = why("--resource", STUDY)
    assert (nobodys.exit_code, nobodys.output.strip()) == (1, "refused: no policy permits it")
    operators = why("--resource", STUDY, "--role", "operator", "--json")
    assert json.loads(operators.output)["policies"] == ["operators-see-no-patients"]
    emergency = why("--resource", STUDY, "--role", "reader", "--break-glass", "stroke")
    assert emergency.output.strip() == "allowed by break-glass"


def test_policy_why_reads_a_nodes_reading_list(tmp_path: Path) -> None:
    listed = ReadingList(tmp_path / "readings.sqlite")
    listed.put(a_reading())
    listed.close()
    told = why("--resource", PRIOR, "--readings", tmp_path / "readings.sqlite")
    assert told.output.strip() == "allowed by prior-of-assigned"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--resource", "../etc"),
        ("--resource", STUDY, "--network", "nowhere"),
        ("--resource", STUDY, "--role", "king"),
        ("--resource", STUDY, "--readings", "nothing.sqlite"),
        ("--resource", STUDY, "--policies", "no-such-folder"),
    ],
)
def test_policy_why_refuses_what_it_cannot_use(arguments) -> None:
    told = why(*arguments)
    assert told.exit_code == 2
    assert told.output.startswith("teleprefetch: ")


def test_the_default_policies_and_schema_are_part_of_the_package() -> None:
    assert {path.suffix for path in DEFAULT_FOLDER.glob("*.cedar*")} == {".cedar", ".cedarschema"}
