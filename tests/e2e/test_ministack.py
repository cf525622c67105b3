"""The story once more on an emulator that is not ours: import, warm, notice, read, replay."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import boto3
import pytest
import urllib3

from teleprefetch.adapters.dynamodb import DynamoAssignments, DynamoOutcomes
from teleprefetch.assignment import Notice
from teleprefetch.local import demo_input
from teleprefetch.local.aws import ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY
from teleprefetch.local.demo_input import DemoInput
from teleprefetch.local.healthimaging import HealthImaging
from teleprefetch.local.login.issuer import LocalIssuer
from teleprefetch.local.login.people import COLLEAGUE, OPERATOR, READER, Person
from teleprefetch.local.login.provider import Provider
from teleprefetch.local.node_process import NodeProcess
from teleprefetch.local.stack import DATASTORE_ID, INPUT_BUCKET, LOCATION, NODE, OUTPUT_BUCKET
from tests.ministack import STACK, Ministack, ServiceEvents
from tests.waiting import until

VIEWER, NODES, LOGIN = "viewer.example.org", "https://read.example.org", "https://login.example.org"


@dataclass(frozen=True)
class Story:
    """What is up."""

    aws: Ministack
    data_store: HealthImaging
    node: NodeProcess
    samples: DemoInput
    issuer: LocalIssuer

    def executions(self, machine: str) -> list[dict[str, Any]]:
        client = boto3.client("stepfunctions")
        arn = self.aws.outputs[f"{machine}MachineArn"]
        return [dict(one) for one in client.list_executions(stateMachineArn=arn)["executions"]]

    def quiet(self) -> None:
        def none_runs() -> bool:
            every = [*self.executions("Import"), *self.executions("Prefetch")]
            return bool(every) and not any(one["status"] == "RUNNING" for one in every)

        until(none_runs, "all executions to end", within_s=120)

    def import_files(self, files: tuple[Path, ...], name: str) -> None:
        s3, client = boto3.client("s3"), boto3.client("medical-imaging")
        demo_input.import_files(files, name=name, s3=s3, client=client)
        self.quiet()

    def emit(self, detail_type: str, detail: dict[str, Any]) -> None:
        """An event of HealthImaging's."""
        entry = {
            "Source": "aws.medical-imaging",
            "DetailType": detail_type,
            "Detail": json.dumps({"imagingVersion": "1.0", "datastoreId": DATASTORE_ID} | detail),
            "Resources": [],
            "Time": datetime.now(UTC),
        }
        ServiceEvents().put_events(Entries=[entry])

    def assign(self, assignment_id: str, study_instance_uid: str, *, seconds: float) -> None:
        detail = {
            "schema_version": "1",
            "assignment_id": assignment_id,
            "origin_id": DATASTORE_ID,
            "study_instance_uid": study_instance_uid,
            "reading_location": LOCATION,
            "assigned_to": {"issuer": self.issuer.url, "subject": READER.subject},
            "deadline_at": (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(),
        }
        answer = boto3.client("events").put_events(
            Entries=[
                {
                    "Source": "worklist",
                    "DetailType": "Study Assigned",
                    "Detail": json.dumps(detail),
                }
            ]
        )
        assert answer["FailedEntryCount"] == 0

    def notice(self, assignment_id: str, *, within_s: float = 90) -> Notice:
        table = DynamoAssignments(boto3.client("dynamodb"), self.aws.outputs["TableName"], 90)
        notice = until(lambda: table.notice(assignment_id), "a notice", within_s=within_s)
        return Notice.model_validate(notice)

    def searched(self, *people: Person) -> tuple[int, set[str]]:
        """What the node answers who searches for studies, and the studies it shows."""
        tokens = [self.issuer.token_for(person) for person in people]
        headers = {"Authorization": f"Bearer {tokens[0]}"} if tokens else {}
        answer = urllib3.request("GET", f"{self.node.url}/dicom-web/studies", headers=headers)
        rows = json.loads(answer.data) if answer.status == 200 else []
        return answer.status, {row["0020000D"]["Value"][0] for row in rows}

    def teleprefetch(self, *arguments: str) -> str:
        """What an operator's command says, as one types it."""
        environment = {"TELEPREFETCH_STACK": STACK, "NO_COLOR": "1"}
        done = subprocess.run(
            [sys.executable, "-c", "from teleprefetch.cli import main; main()", *arguments],
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("ministack")
    samples = demo_input.made_up(folder / "files", today=datetime.now(UTC).date(), scale=0.1)
    with Ministack(folder) as aws:
        s3 = boto3.client("s3")
        for bucket in (INPUT_BUCKET, OUTPUT_BUCKET):
            s3.create_bucket(Bucket=bucket)
        store = HealthImaging(
            s3=s3,
            events=ServiceEvents(),
            datastore_id=DATASTORE_ID,
            region=REGION,
            credentials={ACCESS_KEY_ID: SECRET_ACCESS_KEY},
        )
        with store as data_store, LocalIssuer() as issuer:
            endpoint = {"AWS_ENDPOINT_URL_MEDICAL_IMAGING": data_store.url}
            origin = {"kind": "healthimaging", "region": REGION, "dicomweb_url": data_store.url}
            origins = json.dumps({DATASTORE_ID: origin})
            parameters = {
                "DatastoreId": DATASTORE_ID,
                "ImportOutputBucket": OUTPUT_BUCKET,
                "NodeName": NODE,
                "ReadingLocation": LOCATION,
                "Origins": origins,
                "ViewerOnAws": "true",
                "ViewerName": VIEWER,
                "ViewerCertificateArn": f"arn:aws:acm:us-east-1:{'0' * 12}:certificate/{'0' * 36}",
                "ReadersUrl": NODES,
                "ViewerLogin": json.dumps({"authority": LOGIN, "client_id": "viewer"}),
                "ViewerConnects": LOGIN,
            }
            aws.deploy(parameters, function_environment=endpoint)
            node = NodeProcess(
                name=NODE,
                folder=folder / "store",
                log_path=folder / "node.log",
                bearer=partial(issuer.token_for, OPERATOR),
                environment=aws.environment
                | endpoint
                | Provider(issuer=issuer.url).node_variables()
                | {
                    "QUEUE_URL": aws.outputs["NodeQueueUrl"],
                    "TABLE_NAME": aws.outputs["TableName"],
                    "ORIGINS": origins,
                    "STORE_BYTES": "4000000000",
                    "HEARTBEAT_S": "2",
                    "VISIBILITY_S": "6",
                },
            )
            with patch.dict(os.environ, endpoint):
                node.start()
                try:
                    yield Story(aws, data_store, node, samples, issuer)
                finally:
                    node.stop()


def test_an_import_warms_the_study_and_its_priors_and_the_notice_says_so(story: Story) -> None:
    story.import_files(story.samples.history, "history")
    story.import_files(story.samples.current, "current")
    story.assign("story-1", story.samples.study_instance_uid, seconds=150)

    notice = story.notice("story-1", within_s=160)

    assert notice.reason == "warm", notice
    holdings = story.node.holdings()["series"]
    assert holdings
    assert all(one["frames_held"] == one["frames_verified"] for one in holdings)


def test_the_assigned_reader_finds_the_study_and_its_priors_and_nobody_else_does(
    story: Story,
) -> None:
    status, shown = story.searched(READER)

    assert status == 200
    assert story.samples.study_instance_uid in shown
    assert len(shown) > 1
    assert not shown & set(story.samples.strangers)
    assert story.searched(COLLEAGUE)[1] == set()
    assert story.searched()[0] == 401


def test_a_prefetch_that_was_aborted_is_recorded_and_its_replay_ends_warm(story: Story) -> None:
    machines = boto3.client("stepfunctions")
    story.node.kill()
    story.assign("story-2", story.samples.study_instance_uid, seconds=6)

    def running() -> str | None:
        every = story.executions("Prefetch")
        return next((one["executionArn"] for one in every if one["status"] == "RUNNING"), None)

    arn = until(running, "the prefetch to run", within_s=60)
    story.notice("story-2")
    machines.stop_execution(executionArn=arn)
    until(lambda: _state_of(story, arn) == "failed", "the failure to be recorded", within_s=60)
    story.node.start()

    # without --mode it would be redriven, which this emulator cannot
    told = story.teleprefetch(
        "replay", "story-2", "--mode", "new", "--reason", "the node is back", "--json"
    )

    [replay] = json.loads(told)["replays"]
    assert replay["action"] == "new"
    story.quiet()
    assert {one["status"] for one in story.executions("Prefetch")} == {"SUCCEEDED", "ABORTED"}
    again = next(one for one in story.executions("Prefetch") if one["name"].endswith("-r1"))
    assert again["status"] == "SUCCEEDED"


def _state_of(story: Story, execution_arn: str) -> str:
    outcomes = DynamoOutcomes(boto3.client("dynamodb"), story.aws.outputs["TableName"], 90)
    outcome = outcomes.outcome(execution_arn.rpartition(":")[2])
    return outcome.state if outcome is not None else ""


def test_the_same_import_event_again_starts_no_second_prefetch(story: Story) -> None:
    [job] = [
        one
        for one in boto3.client("medical-imaging").list_dicom_import_jobs(datastoreId=DATASTORE_ID)[
            "jobSummaries"
        ]
        if one["jobName"] == "current"
    ]
    prefetches = len(story.executions("Prefetch"))
    imports = len(story.executions("Import"))

    story.emit(
        "Import Job Completed",
        {
            "jobId": job["jobId"],
            "jobName": "current",
            "jobStatus": "COMPLETED",
            "inputS3Uri": f"s3://{INPUT_BUCKET}/current/",
            "outputS3Uri": f"s3://{OUTPUT_BUCKET}/",
        },
    )
    until(lambda: len(story.executions("Import")) > imports, "the import to start", within_s=30)
    story.quiet()

    assert len(story.executions("Prefetch")) == prefetches


def test_an_event_that_breaks_its_contract_is_caught_by_the_name_of_its_error(
    story: Story,
) -> None:
    before = {one["executionArn"] for one in story.executions("Import")}

    story.emit("Image Set Created", {})

    def ended() -> str | None:
        every = story.executions("Import")
        new = [one for one in every if one["executionArn"] not in before]
        return next((one["executionArn"] for one in new if one["status"] != "RUNNING"), None)

    arn = until(ended, "the import to end", within_s=60)
    execution = boto3.client("stepfunctions").describe_execution(executionArn=arn)
    assert execution["status"] == "SUCCEEDED"
    assert "detail.imagesetId" in execution["output"]
    assert "InvalidPayloadError" in execution["output"]


def test_the_stack_serves_a_viewer_that_is_told_of_its_nodes_and_its_login(story: Story) -> None:
    told = story.teleprefetch("viewer", "config")
    cloudfront = boto3.client("cloudfront")
    [found] = cloudfront.list_distributions()["DistributionList"]["Items"]
    behaviour = found["DefaultCacheBehavior"]
    sent = cloudfront.get_response_headers_policy(Id=behaviour["ResponseHeadersPolicyId"])
    security = sent["ResponseHeadersPolicy"]["ResponseHeadersPolicyConfig"]["SecurityHeadersConfig"]

    assert f'"{NODES}/dicom-web"' in told
    assert f'"{LOGIN}"' in told
    assert found["Aliases"]["Items"] == [VIEWER]
    assert found["Origins"]["Items"][0]["OriginAccessControlId"]
    reaches = f"connect-src 'self' data: blob: {NODES} {LOGIN};"
    assert reaches in security["ContentSecurityPolicy"]["ContentSecurityPolicy"]
