"""The whole stack with its data store and a node as a process; shared by the tests of a module."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from teleprefetch import runtime
from teleprefetch.assignment import Notice, prefetch_id_of_assignment
from teleprefetch.local import demo_input
from teleprefetch.local.demo_input import DemoInput
from teleprefetch.local.stack import DATASTORE_ID, LOCATION, LocalStack
from teleprefetch.prefetch import Outcome
from tests.waiting import until

if TYPE_CHECKING:
    from mypy_boto3_events.type_defs import PutEventsRequestEntryTypeDef

SCALE = 0.1


class Site:
    """A running stack, and what the world around it does."""

    def __init__(self, stack: LocalStack, samples: DemoInput) -> None:
        self.stack = stack
        self.samples = samples

    def import_files(self, files: tuple[Path, ...], name: str) -> None:
        s3, client = boto3.client("s3"), boto3.client("medical-imaging")
        demo_input.import_files(files, name=name, s3=s3, client=client)
        self.quiet()

    def send(self, source: str, detail_type: str, detail: dict[str, Any]) -> None:
        entry: PutEventsRequestEntryTypeDef = {
            "Source": source,
            "DetailType": detail_type,
            "Detail": json.dumps(detail),
        }
        boto3.client("events").put_events(Entries=[entry])

    def assign(self, assignment_id: str, study_instance_uid: str, *, seconds: float) -> None:
        deadline_at = datetime.now(UTC) + timedelta(seconds=seconds)
        detail = {
            "schema_version": "1",
            "assignment_id": assignment_id,
            "origin_id": DATASTORE_ID,
            "study_instance_uid": study_instance_uid,
            "reading_location": LOCATION,
            "assigned_to": self.stack.provider.reads.model_dump(),
            "deadline_at": deadline_at.isoformat(),
        }
        self.send("worklist", "Study Assigned", detail)

    def notice(self, assignment_id: str, *, within_s: float = 60) -> Notice:
        notice = until(
            lambda: runtime.assignments().notice(assignment_id), "a notice", within_s=within_s
        )
        return Notice.model_validate(notice)

    def outcome_of_assignment(self, assignment_id: str) -> Outcome:
        subject = prefetch_id_of_assignment(assignment_id)
        outcome = until(lambda: runtime.outcomes().outcome(subject), "an outcome", within_s=60)
        return Outcome.model_validate(outcome)

    def executions(self, machine: str) -> list[dict[str, Any]]:
        client = boto3.client("stepfunctions")
        arn = self.stack.aws.outputs[f"{machine}MachineArn"]
        return [
            dict(client.describe_execution(executionArn=one["executionArn"]))
            for one in client.list_executions(stateMachineArn=arn)["executions"]
        ]

    def quiet(self) -> None:
        """Wait until no import and no prefetch runs."""

        def none_runs() -> bool:
            running = [*self.executions("Import"), *self.executions("Prefetch")]
            return not any(one["status"] == "RUNNING" for one in running)

        until(none_runs, "all executions to end", within_s=90)

    def held(self, study_instance_uid: str) -> list[dict[str, Any]]:
        """The series of a study that the node says it holds."""
        return [
            series
            for series in self.stack.node.holdings()["series"]
            if series["study_instance_uid"] == study_instance_uid
        ]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    today = datetime.now(UTC).date()
    folder = tmp_path_factory.mktemp("samples") / "all"
    samples = demo_input.made_up(folder, today=today, scale=SCALE)
    with LocalStack() as stack:
        yield Site(stack, samples)
