"""One suite for each port of the pipeline: the AWS adapter (on moto) and the fake pass alike."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import boto3
import pytest
from moto import mock_aws

from teleprefetch.adapters.dynamodb import DynamoAssignments, DynamoOutcomes, DynamoProgress
from teleprefetch.adapters.events import EventBridgeEvents
from teleprefetch.adapters.s3 import S3Documents
from teleprefetch.assignment import Assignment, Notice
from teleprefetch.errors import CorruptPayloadError, OriginUnavailableError
from teleprefetch.model import ObjectPointer, WarmReport
from teleprefetch.ports import Assignments, Documents, Events, Outcomes, Progress
from teleprefetch.prefetch import Outcome
from tests.fakes import (
    MemoryAssignments,
    MemoryDocuments,
    MemoryEvents,
    MemoryOutcomes,
    MemoryProgress,
)

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


class Ports(NamedTuple):
    documents: Documents
    outcomes: Outcomes
    progress: Progress
    assignments: Assignments
    events: Events


@pytest.fixture(params=["memory", "aws"])
def ports(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ports]:
    if request.param == "memory":
        yield Ports(
            MemoryDocuments(),
            MemoryOutcomes(),
            MemoryProgress(),
            MemoryAssignments(),
            MemoryEvents(),
        )
        return
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket="documents")
        dynamodb = boto3.client("dynamodb")
        dynamodb.create_table(
            TableName="table",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[
                {"AttributeName": "pk", "AttributeType": "S"},
                {"AttributeName": "sk", "AttributeType": "S"},
            ],
            KeySchema=[
                {"AttributeName": "pk", "KeyType": "HASH"},
                {"AttributeName": "sk", "KeyType": "RANGE"},
            ],
        )
        yield Ports(
            S3Documents(boto3.client("s3"), "documents"),
            DynamoOutcomes(dynamodb, "table", 90),
            DynamoProgress(dynamodb, "table", 90),
            DynamoAssignments(dynamodb, "table", 90),
            EventBridgeEvents(boto3.client("events"), "default"),
        )


def an_outcome(**changed: Any) -> Outcome:
    return Outcome.parse({"subject": "imp-1", "state": "warm", "recorded_at": NOW} | changed)


def a_report(**changed: Any) -> WarmReport:
    counts = dict.fromkeys(
        (
            "frames_planned",
            "frames_warmed",
            "frames_verified",
            "frames_fetched",
            "bytes_warmed",
            "bytes_fetched",
        ),
        0,
    )
    about = {"prefetch_id": "p", "node": "node-a", "state": "warming", "studies": ()}
    return WarmReport.parse(about | counts | {"reported_at": NOW} | changed)


def an_assignment() -> Assignment:
    return Assignment(
        assignment_id="a-1",
        prefetch_id="assigned-1",
        origin_id="store",
        study_instance_uid="1.2.3",
        reading_location="home",
        priority="high",
        deadline_at=NOW + timedelta(minutes=5),
        wait_s=297,
        is_first=True,
    )


def a_notice(**changed: Any) -> Notice:
    about = {
        "assignment_id": "a-1",
        "prefetch_id": "assigned-1",
        "origin_id": "store",
        "study_instance_uid": "1.2.3",
        "reading_location": "home",
        "reason": "warm",
        "why": "",
        "released_at": NOW,
        "deadline_at": None,
        "current": None,
        "priors": (),
    }
    return Notice.parse(about | changed)


def test_a_document_is_read_back_as_it_was_written(ports: Ports) -> None:
    pointer = ports.documents.put("a/b.json", an_outcome())

    assert ports.documents.get(pointer, Outcome) == an_outcome()


def test_a_document_that_is_not_there_is_unavailable(ports: Ports) -> None:
    with pytest.raises(OriginUnavailableError):
        ports.documents.get_bytes(ObjectPointer(bucket="documents", key="nothing"))


def test_a_document_of_another_kind_is_corrupt(ports: Ports) -> None:
    pointer = ports.documents.put("a/b.json", an_outcome())

    with pytest.raises(CorruptPayloadError):
        ports.documents.get(pointer, WarmReport)


def test_the_first_outcome_of_a_subject_stands(ports: Ports) -> None:
    ports.outcomes.record(an_outcome(state="partial"))

    assert ports.outcomes.record(an_outcome(state="warm")).state == "partial"
    assert ports.outcomes.outcome("imp-1") == an_outcome(state="partial")


def test_a_failure_gives_way_to_a_replay_that_succeeded(ports: Ports) -> None:
    ports.outcomes.record(an_outcome(state="failed"))

    assert ports.outcomes.record(an_outcome(state="warm")).state == "warm"


def test_a_subject_without_outcome_has_none(ports: Ports) -> None:
    assert ports.outcomes.outcome("imp-2") is None


def test_each_node_has_its_last_report(ports: Ports) -> None:
    later = NOW + timedelta(seconds=1)
    ports.progress.report(a_report())
    ports.progress.report(a_report(node="node-b"))
    ports.progress.report(a_report(frames_planned=7, reported_at=later))

    reports = {report.node: report for report in ports.progress.reports("p")}

    assert reports == {
        "node-a": a_report(frames_planned=7, reported_at=later),
        "node-b": a_report(node="node-b"),
    }
    assert ports.progress.reports("q") == ()


def test_an_older_report_never_replaces_a_newer(ports: Ports) -> None:
    ports.progress.report(a_report(frames_planned=7))
    ports.progress.report(a_report(reported_at=NOW - timedelta(seconds=1)))

    assert ports.progress.reports("p")[0].frames_planned == 7


def test_an_assignment_is_held_by_the_execution_that_came_first(ports: Ports) -> None:
    assert ports.assignments.admit(an_assignment(), execution_id="one") == "one"
    assert ports.assignments.admit(an_assignment(), execution_id="two") == "one"
    assert ports.assignments.admit(an_assignment(), execution_id="one") == "one"


def test_an_assignment_is_read_back_as_it_was_admitted_first(ports: Ports) -> None:
    ports.assignments.admit(an_assignment(), execution_id="one")
    ports.assignments.admit(an_assignment().model_copy(update={"wait_s": 1}), execution_id="two")

    assert ports.assignments.admitted("a-1") == an_assignment()
    assert ports.assignments.admitted("a-2") is None


def test_a_notice_is_claimed_once_while_its_claimant_may_live(ports: Ports) -> None:
    assert ports.assignments.claim_notice(a_notice(), now=NOW) == a_notice()
    assert ports.assignments.claim_notice(a_notice(reason="cold"), now=NOW) is None
    assert ports.assignments.notice("a-1") == a_notice()


def test_a_published_notice_is_never_claimed_again(ports: Ports) -> None:
    ports.assignments.claim_notice(a_notice(), now=NOW)
    ports.assignments.notice_published("a-1", at=NOW)

    much_later = NOW + timedelta(days=1)
    assert ports.assignments.claim_notice(a_notice(), now=much_later) is None


def test_the_notice_of_a_dead_claimant_is_published_by_another_unchanged(ports: Ports) -> None:
    ports.assignments.claim_notice(a_notice(), now=NOW)

    later = NOW + timedelta(minutes=1)
    assert ports.assignments.claim_notice(a_notice(reason="cold"), now=later) == a_notice()


def test_a_dropped_claim_is_free_at_once(ports: Ports) -> None:
    ports.assignments.claim_notice(a_notice(), now=NOW)
    ports.assignments.drop_claim("a-1")

    assert ports.assignments.claim_notice(a_notice(), now=NOW) == a_notice()


def test_an_assignment_that_was_not_released_has_no_notice(ports: Ports) -> None:
    assert ports.assignments.notice("a-2") is None


def test_study_warm_is_sent_once_and_only_after_its_notice(ports: Ports) -> None:
    assert not ports.assignments.late_warm("a-1", at=NOW)
    ports.assignments.claim_notice(a_notice(reason="cold"), now=NOW)
    assert not ports.assignments.late_warm("a-1", at=NOW)
    ports.assignments.notice_published("a-1", at=NOW)

    assert ports.assignments.late_warm("a-1", at=NOW)
    assert not ports.assignments.late_warm("a-1", at=NOW)


def test_a_study_warm_that_could_not_be_sent_is_left_to_another(ports: Ports) -> None:
    ports.assignments.claim_notice(a_notice(reason="cold"), now=NOW)
    ports.assignments.notice_published("a-1", at=NOW)
    ports.assignments.late_warm("a-1", at=NOW)

    ports.assignments.drop_late_warm("a-1")

    assert ports.assignments.late_warm("a-1", at=NOW)


def test_an_event_is_put_on_the_bus(ports: Ports) -> None:
    ports.events.publish("Assignment Released", {"reason": "warm"})
