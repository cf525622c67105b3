"""The shipped template, machines and handlers on moto; only the archive and the node are fakes."""

import contextlib
import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from teleprefetch import runtime
from teleprefetch.assignment import Notice
from teleprefetch.local.aws import TEMPLATE, LocalAws
from teleprefetch.model import Plan, StudyWarmth, WarmOrder, WarmReport
from teleprefetch.prefetch import Outcome
from tests.builders import DATASTORE_ID, an_assigned_event
from tests.fake_origin import FakeOrigin
from tests.fakes import FakeImageSets
from tests.origin_builders import PATIENT, a_study, a_uid, an_image_set_id
from tests.waiting import until

if TYPE_CHECKING:
    from mypy_boto3_events.type_defs import PutEventsRequestEntryTypeDef

CURRENT = a_uid(1)


class FakeNode:
    """Takes orders off the real queue and answers them when a test says so."""

    def __init__(self, queue_url: str) -> None:
        self._queue_url = queue_url
        self._sqs = boto3.client("sqs")
        self.orders: list[WarmOrder] = []
        self.purges: list[dict[str, Any]] = []

    def order(self) -> WarmOrder:
        """The next warm order."""
        before = len(self.orders)
        until(lambda: len(self._received().orders) > before, "a warm order")
        return self.orders[before]

    def purge(self) -> dict[str, Any]:
        """The next purge order."""
        until(lambda: self._received().purges, "a purge order")
        return self.purges[-1]

    def warm(self, order: WarmOrder, *, verified: int = 3) -> None:
        """Report an order as done, `verified` of three frames a study, and answer its token."""
        report = self.report(order, verified=verified)
        counts = ("frames_planned", "frames_warmed", "frames_verified")
        output = {name: getattr(report, name) for name in counts}
        about = {"node": order.node, "prefetch_id": order.prefetch_id, "state": report.state}
        runtime.tasks().succeed(order.task_token, about | output)

    def report(self, order: WarmOrder, *, verified: int) -> WarmReport:
        """Write the progress of an order without answering it."""
        plan = runtime.documents().get(order.plan, Plan)
        roles = {one.series.study_instance_uid: one.role for one in plan.series}
        studies = tuple(
            StudyWarmth(
                study_instance_uid=uid, role=role, frames_planned=3, frames_verified=verified
            )
            for uid, role in roles.items()
        )
        report = WarmReport(
            prefetch_id=order.prefetch_id,
            node=order.node,
            state="warm" if verified == 3 else "partial",
            frames_planned=3 * len(studies),
            frames_warmed=verified * len(studies),
            frames_verified=verified * len(studies),
            frames_fetched=0,
            bytes_warmed=0,
            bytes_fetched=0,
            studies=studies,
            reported_at=datetime.now(UTC),
        )
        runtime.progress().report(report)
        return report

    def _received(self) -> "FakeNode":
        """The node itself, with what its queue held until now."""
        answer = self._sqs.receive_message(QueueUrl=self._queue_url, MaxNumberOfMessages=10)
        for message in answer.get("Messages", ()):
            self._sqs.delete_message(
                QueueUrl=self._queue_url, ReceiptHandle=message["ReceiptHandle"]
            )
            body = json.loads(message["Body"])
            if body["kind"] == "warm":
                self.orders.append(WarmOrder.parse(body))
            else:
                self.purges.append(body)
        return self


class Pipeline:
    """What a test does to the stack, and what it sees of it."""

    def __init__(self, aws: LocalAws) -> None:
        self.aws = aws
        self.node = FakeNode(aws.outputs["NodeQueueUrl"])
        self.origin = FakeOrigin()
        self.image_sets: dict[str, str] = {}
        today = datetime.now(UTC)
        for number in (1, 2, 3):
            day = today - timedelta(days=200 * (number - 1))
            self.origin.hold(a_study(number, study_date=f"{day:%Y%m%d}"))
            self.image_sets[an_image_set_id(number * 1000 + 1)] = a_uid(number)
        stranger = PATIENT.model_copy(update={"patient_id": "another"})
        self.origin.hold(a_study(4, patient=stranger))
        self._step_functions = boto3.client("stepfunctions")

    def put_manifest(self, *image_set_ids: str, content: bytes | None = None) -> None:
        """Write the manifest of the job of `a_job_event`."""
        listed = image_set_ids or tuple(self.image_sets)
        summary = {"imageSetsSummary": [{"imageSetId": one} for one in listed]}
        boto3.client("s3").put_object(
            Bucket="output",
            Key="job-output-manifest.json",
            Body=content if content is not None else json.dumps({"jobSummary": summary}).encode(),
        )

    def send(self, event: dict[str, Any], *, times: int = 1) -> None:
        """Put an event on the bus."""
        entry: PutEventsRequestEntryTypeDef = {
            "Source": event["source"],
            "DetailType": event["detail-type"],
            "Detail": json.dumps(event["detail"]),
            "Resources": event.get("resources", []),
        }
        for _ in range(times):
            boto3.client("events").put_events(Entries=[entry])

    def assign(self, *, seconds: float = 60, times: int = 1, **detail: Any) -> None:
        """Assign the current study with a deadline that many seconds from now."""
        deadline_at = (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()
        about = {"study_instance_uid": CURRENT, "deadline_at": deadline_at}
        self.send(an_assigned_event(**(about | detail)), times=times)

    def executions(self, machine: str) -> list[dict[str, Any]]:
        """The executions of a machine."""
        arn = self.aws.outputs[f"{machine}MachineArn"]
        listed = self._step_functions.list_executions(stateMachineArn=arn)["executions"]
        return [
            dict(self._step_functions.describe_execution(executionArn=one["executionArn"]))
            for one in listed
        ]

    def ended(self, machine: str, count: int = 1) -> list[dict[str, Any]]:
        """The executions of a machine, once there are so many and none runs."""

        def all_ended() -> list[dict[str, Any]]:
            found = self.executions(machine)
            running = any(one["status"] == "RUNNING" for one in found)
            return found if len(found) >= count and not running else []

        return list(until(all_ended, f"{count} ended executions of {machine}"))

    def notice(self, assignment_id: str = "a-1") -> Notice:
        """The notice of an assignment, once it is out."""
        found = until(lambda: runtime.assignments().notice(assignment_id), "a notice")
        return Notice.model_validate(found)

    def outcomes(self) -> list[Outcome]:
        """Every recorded outcome."""
        items = boto3.client("dynamodb").scan(TableName=self.aws.outputs["TableName"])["Items"]
        documents = [item["document"]["S"] for item in items if item["sk"]["S"] == "OUTCOME"]
        return [Outcome.parse_json(document) for document in documents]

    def published(self) -> list[dict[str, Any]]:
        """Every notice that went over the bus."""
        sqs = boto3.client("sqs")
        url = sqs.get_queue_url(QueueName="seen")["QueueUrl"]
        bodies = []
        while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            bodies += [json.loads(message["Body"]) for message in messages]
        return bodies


def _watch_notices() -> None:
    events, sqs = boto3.client("events"), boto3.client("sqs")
    sqs.create_queue(QueueName="seen")
    pattern = {"source": ["teleprefetch"]}
    events.put_rule(Name="seen", EventPattern=json.dumps(pattern))
    arn = "arn:aws:sqs:us-east-1:123456789012:seen"
    events.put_targets(Rule="seen", Targets=[{"Id": "seen", "Arn": arn}])


@contextlib.contextmanager
def _running(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, template: Path = TEMPLATE
) -> Iterator[Pipeline]:
    log_path = tmp_path / "functions.log"
    with LocalAws(template=template, time_scale=0.01, log_path=log_path) as aws:
        boto3.client("s3").create_bucket(Bucket="output")
        aws.deploy({"DatastoreId": DATASTORE_ID, "ImportOutputBucket": "output"})
        _watch_notices()
        pipeline = Pipeline(aws)
        image_sets = {DATASTORE_ID: FakeImageSets(pipeline.image_sets)}
        with monkeypatch.context() as replaced:
            replaced.setattr(runtime, "origins", lambda: {DATASTORE_ID: pipeline.origin})
            replaced.setattr(runtime, "image_sets", lambda: image_sets)
            yield pipeline


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Pipeline]:
    with _running(monkeypatch, tmp_path) as pipeline:
        yield pipeline


@pytest.fixture
def impatient_pipeline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Pipeline]:
    """The same, but for a second of patience with a silent node instead of a minute."""
    root = TEMPLATE.parent
    for folder in ("statemachine", "functions"):
        shutil.copytree(root / folder, tmp_path / folder)
    template = Path(shutil.copy(TEMPLATE, tmp_path))
    machine = tmp_path / "statemachine" / "prefetch.asl.json"
    shipped = machine.read_text()
    machine.write_text(shipped.replace('"HeartbeatSeconds": 60', '"HeartbeatSeconds": 1'))
    assert machine.read_text() != shipped
    with _running(monkeypatch, tmp_path, template) as pipeline:
        yield pipeline
