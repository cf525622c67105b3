"""One suite for run records, lookup keys and nodes: the fake, and AWS by two emulators."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, get_args
from uuid import uuid4

import boto3
import pytest
from moto import mock_aws

from teleprefetch.adapters.dynamodb_nodes import DynamoNodes
from teleprefetch.adapters.dynamodb_runs import INDEXES, DynamoRuns
from teleprefetch.adapters.kms import KmsLookupKeys
from teleprefetch.ports import LookupKeys, Nodes, Runs
from teleprefetch.prefetch import OutcomeState
from teleprefetch.run_records import Run, RunFilter, RunOutcome
from tests.fakes import MemoryLookupKeys, MemoryNodes, MemoryRuns
from tests.ministack import Ministack
from tests.run_tables import make_table

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


class Ports(NamedTuple):
    runs: Runs
    lookup_keys: LookupKeys
    nodes: Nodes


@pytest.fixture(scope="module")
def ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ministack]:
    """The emulator that is not ours; its tables are told apart by their names."""
    pytest.importorskip("ministack")
    with Ministack(tmp_path_factory.mktemp("ministack")) as ministack:
        yield ministack


@pytest.fixture(params=["memory", "moto", "ministack"])
def ports(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ports]:
    if request.param == "memory":
        yield Ports(MemoryRuns(), MemoryLookupKeys(), MemoryNodes())
        return
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    if request.param == "ministack":
        request.getfixturevalue("ministack")
        yield on_aws()
        return
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)  # the other emulator's
    with mock_aws():
        yield on_aws()


def on_aws() -> Ports:
    table_name = f"table-{uuid4()}"
    dynamodb, kms = make_table(table_name), boto3.client("kms")
    made = kms.create_key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")
    return Ports(
        DynamoRuns(dynamodb, table_name, 90),
        KmsLookupKeys(kms, made["KeyMetadata"]["KeyId"]),
        DynamoNodes(dynamodb, table_name),
    )


def a_run(run_id: str = "study-1", **changed: Any) -> Run:
    about = {"run_id": run_id, "kind": "prefetch", "at": NOW, "outcome": "warm"}
    return Run.parse(about | changed)


FULL = {
    "ended_at": NOW + timedelta(seconds=9),
    "cause": "node-a lost: States.Timeout",
    "of": "imp-1",
    "event_id": "6a7e8feb-b491-4cf7-a9f1-bf3703467718",
    "origin_id": "store",
    "study_instance_uid": "1.2.3",
    "accession_key": "aa",
    "patient_key": "bb",
    "reader": "reader-1",
    "reading_location": "home",
    "node": "node-a",
    "priority": "high",
    "assignment_id": "a-1",
    "deadline_at": NOW + timedelta(minutes=5),
    "execution_arn": "arn:aws:states:us-east-1:1:execution:m:n",
    "warm_at": NOW + timedelta(hours=1),
    "by": "arn:aws:iam::1:user/one",
    "reason": "reader called",
    "counts": {"frames_planned": 5},
}


def test_a_run_is_read_back_as_it_was_recorded(ports: Ports) -> None:
    assert set(FULL) | {"run_id", "kind", "at", "outcome"} == set(Run.model_fields)
    ports.runs.record(a_run(**FULL))

    assert ports.runs.run("study-1") == a_run(**FULL)
    assert ports.runs.run("study-2") is None


def test_every_outcome_of_an_import_or_prefetch_is_one_of_a_run() -> None:
    assert set(get_args(OutcomeState)) < set(get_args(RunOutcome))


def test_a_later_word_adds_to_a_run_and_leaves_what_it_does_not_name(ports: Ports) -> None:
    ports.runs.record(a_run(outcome="warming", patient_key="bb", reading_location="home"))
    ports.runs.record(a_run(outcome="warm", at=NOW + timedelta(seconds=9), counts={"nodes": 1}))

    assert ports.runs.run("study-1") == a_run(
        outcome="warm", patient_key="bb", reading_location="home", counts={"nodes": 1}
    )


def found(ports: Ports, limit: int = 10, **wanted: Any) -> list[str]:
    return [run.run_id for run in ports.runs.find(RunFilter(**wanted), limit=limit)]


@pytest.mark.parametrize(
    "field",
    ["study_instance_uid", "accession_key", "patient_key", "reader", "reading_location"],
)
def test_runs_are_found_by_what_they_are_about_newest_first(ports: Ports, field: str) -> None:
    value = FULL[field]
    ports.runs.record(a_run("study-1", **{field: value}))
    ports.runs.record(a_run("study-2", at=NOW + timedelta(seconds=1), **{field: value}))
    ports.runs.record(a_run("study-3"))

    assert found(ports, **{field: value}) == ["study-2", "study-1"]
    assert found(ports, limit=1, **{field: value}) == ["study-2"]
    assert found(ports, **{field: "9.9"}) == []


def test_runs_are_found_by_outcome_of_every_kind_or_of_one(ports: Ports) -> None:
    ports.runs.record(a_run("study-1", outcome="cold"))
    ports.runs.record(a_run("notice-1", kind="notice", outcome="cold", at=NOW - timedelta(1)))
    ports.runs.record(a_run("study-2", outcome="warm"))

    assert found(ports, outcome="cold") == ["study-1", "notice-1"]
    assert found(ports, outcome="cold", kind="notice") == ["notice-1"]
    assert set(found(ports, kind="prefetch")) == {"study-1", "study-2"}


def test_a_run_leaves_the_outcome_it_had(ports: Ports) -> None:
    ports.runs.record(a_run(outcome="warming"))
    ports.runs.record(a_run(outcome="warm"))

    assert found(ports, outcome="warming") == []
    assert found(ports, outcome="warm") == ["study-1"]


def test_runs_are_found_by_time_with_both_ends_included(ports: Ports) -> None:
    for minutes in range(5):
        at = NOW + timedelta(minutes=minutes, microseconds=minutes)
        ports.runs.record(a_run(f"study-{minutes}", at=at))

    since, until = NOW + timedelta(minutes=1, microseconds=1), NOW + timedelta(minutes=3, seconds=1)
    assert found(ports, since=since, until=until) == ["study-3", "study-2", "study-1"]


def test_criteria_are_taken_together(ports: Ports) -> None:
    ports.runs.record(a_run("study-1", reader="r", reading_location="home"))
    ports.runs.record(a_run("study-2", reader="r", reading_location="away"))
    ports.runs.record(a_run("study-3", reader="s", reading_location="home", outcome="cold"))

    assert found(ports, reader="r", reading_location="home") == ["study-1"]
    assert found(ports, reader="s", outcome="warm") == []


def test_every_index_of_the_adapter_is_one_of_the_template(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        table = make_table().describe_table(TableName="table")["Table"]

    assert {
        index["IndexName"]: index["KeySchema"][0]["AttributeName"]
        for index in table["GlobalSecondaryIndexes"]
    } == INDEXES


def test_a_key_is_the_same_each_time_and_tells_nothing_of_its_words(ports: Ports) -> None:
    key = ports.lookup_keys.key_of("patient", "A\x1fP-1")

    assert ports.lookup_keys.key_of("patient", "A\x1fP-1") == key
    assert ports.lookup_keys.key_of("accession", "A\x1fP-1") != key
    assert len(key) == 40
    assert "P-1" not in key


def test_a_drained_node_is_named_until_it_is_undrained(ports: Ports) -> None:
    ports.nodes.drain("node-a", by="one", reason="disk", at=NOW)
    assert ports.nodes.drained() == {"node-a"}

    ports.nodes.undrain("node-a")
    ports.nodes.undrain("node-b")
    assert ports.nodes.drained() == frozenset()
