"""Operators' commands against the local stack, from another process, as an operator runs them.

Three things go wrong, as in the field: the archive fails for one prior, a node is killed, an event
is lost. Each is found with `why`, put right, replayed or reconciled, and ends warm with one notice.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest

from teleprefetch import runtime
from teleprefetch.assignment import prefetch_id_of_assignment
from teleprefetch.local import demo_input
from teleprefetch.local.healthimaging.wire import ServiceError
from teleprefetch.local.stack import LOCATION, LocalStack, StackOptions
from teleprefetch.run_records import RunFilter, notice_run_id
from tests.e2e.conftest import SCALE, Site
from tests.waiting import until

# moto says so, in its server's threads, whenever somebody asks for the stack's resources
pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse AWS")

Command = Callable[..., Any]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A stack of its own, whose node is soon out of patience with an archive that fails."""
    today = datetime.now(UTC).date()
    folder = tmp_path_factory.mktemp("samples") / "all"
    samples = demo_input.made_up(folder, today=today, scale=SCALE)
    impatient = {"ORIGIN_PATIENCE_S": "2"}
    with LocalStack(StackOptions(node_variables=impatient)) as stack:
        yield Site(stack, samples)


@pytest.fixture(scope="module")
def teleprefetch(site: Site) -> Command:
    token = site.stack.folder / "operator.token"
    token.touch(mode=0o600)
    token.write_text(site.stack._operator_token())
    environment = (
        os.environ
        | site.stack.environment
        | site.stack.operator_environment
        | {"TELEPREFETCH_TOKEN_FILE": str(token), "NO_COLOR": "1"}
    )

    def run(*arguments: str, code: int = 0) -> Any:
        done = subprocess.run(
            [sys.executable, "-c", "from teleprefetch.cli import main; main()", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout) if "--json" in arguments else done.stdout

    return run


@pytest.fixture(scope="module")
def notices(site: Site) -> Callable[[], list[dict[str, Any]]]:
    """Every event of ours on the bus, so far."""
    events, sqs = boto3.client("events"), boto3.client("sqs")
    url = sqs.create_queue(QueueName="seen")["QueueUrl"]
    events.put_rule(Name="seen", EventPattern=json.dumps({"source": ["teleprefetch"]}))
    arn = "arn:aws:sqs:us-east-1:123456789012:seen"
    events.put_targets(Rule="seen", Targets=[{"Id": "seen", "Arn": arn}])
    seen: list[dict[str, Any]] = []

    def received() -> list[dict[str, Any]]:
        while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            seen.extend(json.loads(message["Body"]) for message in messages)
            for message in messages:
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return seen

    return received


def of(events: list[dict[str, Any]], assignment_id: str) -> list[str]:
    return [one["detail-type"] for one in events if one["detail"]["assignment_id"] == assignment_id]


def late_warm(site: Site, assignment_id: str) -> Any:
    def sent() -> Any:
        run = runtime.runs().run(notice_run_id(assignment_id))
        return run is not None and run.warm_at

    return until(sent, "Study Warm", within_s=60)


def test_what_went_well_is_told_by_status_find_why_and_doctor(
    site: Site, teleprefetch: Command
) -> None:
    site.import_files(site.samples.history, "history")
    site.import_files(site.samples.current, "current")
    uid = site.samples.study_instance_uid
    site.assign("well-1", uid, seconds=40)
    assert site.notice("well-1").reason == "warm"
    site.quiet()
    until(lambda: runtime.runs().find(RunFilter(kind="notice", outcome="warm"), limit=1), "a run")

    status = teleprefetch("status", "--json")
    assert (status["waiting"], status["problems"]) == (0, [])
    assert [node["ready"] for node in status["nodes"]] == [True]

    found = teleprefetch("find", "--study", uid, "--json")["runs"]
    assert {run["kind"] for run in found} == {"prefetch", "warm", "notice"}
    story = teleprefetch("why", "well-1", "--json")
    assert story["answer"] == "its newest prefetch is warm"
    told = [moment["what"] for moment in story["moments"]]
    assert told[0] == "import"
    assert told[-1] == "notice"
    assert {prior["warm"] for prior in story["priors"]} == {"warm", "left out"}
    assert all(prior["reasons"] for prior in story["priors"])

    findings = teleprefetch("doctor", "--json")["findings"]
    assert [one for one in findings if one["health"] == "failure"] == []
    assert all(one["cure"] for one in findings if one["health"] != "ok")

    [replayed] = teleprefetch("replay", uid, "--dry-run", "--json")["replays"]
    assert (replayed["action"], replayed["execution"]) == ("skip", None)
    assert replayed["why"].startswith("already right")


def test_a_study_is_found_by_accession_number_and_patient_and_neither_is_in_the_table(
    site: Site, teleprefetch: Command
) -> None:
    import pydicom

    header = pydicom.dcmread(site.samples.current[0], stop_before_pixels=True)
    by_accession = teleprefetch("find", "--accession", header.AccessionNumber, "--json")["runs"]
    issuer = str(header.get("IssuerOfPatientID", ""))
    whose = ("--patient", header.PatientID, "--issuer", issuer)
    by_patient = teleprefetch("find", *whose, "--json")["runs"]

    assert {run["study_instance_uid"] for run in by_accession} == {header.StudyInstanceUID}
    assert {run["run_id"] for run in by_accession} <= {run["run_id"] for run in by_patient}
    assert teleprefetch("find", "--accession", "nobody's", "--json", code=1)["runs"] == []
    items = boto3.client("dynamodb").scan(TableName=runtime.settings().table_name)["Items"]
    assert header.PatientID not in str(items)
    assert header.AccessionNumber not in str(items)


def test_an_archive_that_fails_for_one_prior_is_named_and_the_prior_replayed(
    site: Site,
    teleprefetch: Command,
    notices: Callable[[], list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    uid = site.samples.study_instance_uid
    series = site.held(uid)
    prior = teleprefetch("why", uid, "--json")["priors"][0]["study_instance_uid"]
    lost = {one["image_set_id"] for one in site.held(prior)}
    assert lost
    assert series
    _evict_everything(site)
    store = site.stack.data_store
    perform = store._perform

    def failing(found: Any, request: Any) -> Any:
        if any(image_set_id in request.target for image_set_id in lost):
            raise ServiceError("InternalServerException", "said by the test")
        return perform(found, request)

    monkeypatch.setattr(store, "_perform", failing)
    site.assign("failing-1", uid, seconds=30)
    assert site.notice("failing-1").reason == "partial"
    site.quiet()

    story = teleprefetch("why", uid, "--json")
    assert "prior 1 is cold: the archive does not answer" in story["answer"]
    assert "teleprefetch replay" in story["next"]
    monkeypatch.setattr(store, "_perform", perform)
    reason = ("--reason", "archive is back", "--as", "nina")
    [replayed] = teleprefetch("replay", uid, *reason, "--json")["replays"]
    assert replayed["action"] == "new"
    assert replayed["execution"].endswith("-r1")
    assert "none is sent again" in replayed["why"]

    late_warm(site, "failing-1")
    assert of(notices(), "failing-1") == ["Assignment Released", "Study Warm"]
    [record] = teleprefetch("find", "--kind", "replay", "--study", uid, "--json")["runs"]
    assert (record["by"], record["reason"]) == ("nina", "archive is back")
    site.quiet()
    [again] = teleprefetch("replay", uid, *reason, "--json")["replays"]
    assert again["action"] == "skip"


def test_a_killed_node_is_named_and_what_it_lost_is_replayed(
    site: Site, teleprefetch: Command, notices: Callable[[], list[dict[str, Any]]]
) -> None:
    uid = site.samples.study_instance_uid
    _evict_everything(site)
    site.stack.node.kill()
    site.assign("killed-1", uid, seconds=6)
    assert site.notice("killed-1").reason == "cold"

    status = teleprefetch("status", "--json", code=1)
    assert any(problem.startswith("node-a: does not answer") for problem in status["problems"])
    findings = teleprefetch("doctor", "--json", code=1)["findings"]
    assert any("drain node-a" in one["cure"] for one in findings if one["check"] == "nodes")
    [running] = teleprefetch("replay", "killed-1", "--reason", "x", "--json")["replays"]
    assert (running["action"], running["why"].startswith("it runs")) == ("skip", True)

    site.stack.node.start()  # the order is still in its queue
    late_warm(site, "killed-1")
    site.quiet()
    assert of(notices(), "killed-1") == ["Assignment Released", "Study Warm"]
    told = [moment["what"] for moment in teleprefetch("why", uid, "--json")["moments"]]
    assert told[-1] == "study warm"


def test_a_lost_event_is_found_by_reconcile(site: Site, teleprefetch: Command) -> None:
    import pydicom
    from pydicom.data import get_testdata_file
    from pydicom.uid import generate_uid

    events = boto3.client("events")
    rules = [rule["Name"] for rule in events.list_rules()["Rules"]]
    [rule] = [name for name in rules if "HealthImaging" in name]
    report = pydicom.dcmread(str(get_testdata_file("reportsi.dcm")))
    report.PatientID, report.StudyInstanceUID = "lost-patient", generate_uid()
    report.StudyDate = ""
    path = site.stack.folder / "report.dcm"
    report.save_as(path)
    events.disable_rule(Name=rule)
    site.import_files((path,), "lost")

    story = teleprefetch("why", report.StudyInstanceUID, "--json", code=1)
    assert story["answer"] == "nothing is recorded of this study"
    assert "reconcile" in story["next"]
    findings = teleprefetch("doctor", "--json", code=1)["findings"]
    [broken] = [one for one in findings if one["health"] == "failure"]
    assert f"aws events enable-rule --name {rule}" in broken["cure"]
    events.enable_rule(Name=rule)
    told = teleprefetch("reconcile", "--dry-run", "--json")
    started = {one["kind"] for one in told.pop("found") if one["action"] == "start"}
    assert started == {"import job", "image set"}
    done = teleprefetch("reconcile", "--reason", "an event was lost", "--json")
    assert done["imports_started"] == 1
    assert done == told | {"dry_run": False}

    until(lambda: site.held(report.StudyInstanceUID), "the study at the node", within_s=60)
    site.quiet()
    assert teleprefetch("reconcile", "--json")["imports_started"] == 0
    assert teleprefetch("doctor", "--json")["findings"]


def test_warm_and_drain_are_done_and_recorded_with_who_and_why(
    site: Site, teleprefetch: Command
) -> None:
    uid = site.samples.study_instance_uid
    who = ("--reason", "reader called", "--as", "nina")
    begun = teleprefetch("warm", uid, "--location", LOCATION, "--wait", "60", *who, "--json")
    assert begun["outcome"] == "warm"

    drained = teleprefetch("drain", "node-a", "--wait", "30", *who, "--json")
    assert drained["locations_without_another"] == [LOCATION]
    assert teleprefetch("status", "--json")["nodes"][0]["drained"]
    teleprefetch("drain", "node-a", "--undo", *who)
    acts = teleprefetch("find", "--kind", "command", "--json")["runs"]
    nina = [run["cause"] for run in acts if run.get("by") == "nina"]
    assert nina == ["end of the drain of node-a", "drain of node-a", f"warm for {LOCATION}"]
    assert teleprefetch("warm", uid, "--location", "nowhere", *who, code=2) == ""
    assert teleprefetch("warm", uid, "--location", LOCATION, code=2) == ""


def test_an_hl7_order_is_an_assignment_and_ends_in_its_notice(
    site: Site, teleprefetch: Command
) -> None:
    uid = site.samples.study_instance_uid
    lines = (
        "MSH|^~\\&|RIS|SITE|TELE|SITE|20261124120000||ORM^O01|MSG1|P|2.3.1",
        "ORC|NW|order-17|||||1^once^^^^S",
        f"ZDS|{uid}^100^Application^DICOM",
    )
    path = site.stack.folder / "order.hl7"
    path.write_text("\r".join(lines))

    assigned = teleprefetch("assign", str(path), "--location", LOCATION, "--json")

    assert assigned["priority"] == "stat"
    assert site.notice("order-17").study_instance_uid == uid
    site.quiet()


def test_a_purged_study_is_gone_from_the_node(site: Site, teleprefetch: Command) -> None:
    [stranger] = site.samples.strangers
    who = ("--reason", "wrong patient", "--as", "nina")
    teleprefetch("warm", stranger, "--location", LOCATION, "--wait", "60", *who)
    assert site.held(stranger)

    sent = teleprefetch("purge", stranger, "--yes", *who, "--json")

    assert sent["orders"] == sent["image_sets"] > 0
    until(lambda: not site.held(stranger), "the purge", within_s=30)


def _evict_everything(site: Site) -> None:
    """Let the node lose what it holds, as a new disk would."""
    import shutil

    site.stack.node.stop()
    shutil.rmtree(site.stack.folder / "store")
    site.stack.node.start()


def test_the_prefetch_of_an_assignment_can_be_named_by_the_assignment(
    site: Site, teleprefetch: Command
) -> None:
    [replayed] = teleprefetch("replay", "well-1", "--dry-run", "--json")["replays"]

    assert replayed["subject"] == prefetch_id_of_assignment("well-1")
