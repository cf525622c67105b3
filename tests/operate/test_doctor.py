"""Doctor on the shipped template: as it is nothing is wrong, and each thing broken is named."""

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest

from teleprefetch import runtime
from teleprefetch.local.aws import LocalAws
from teleprefetch.operate.doctor import examine
from teleprefetch.operate.findings import Finding
from teleprefetch.operate.site import read_stack
from teleprefetch.run_records import Run
from tests.builders import DATASTORE_ID

pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse AWS")


@pytest.fixture
def aws(tmp_path: Path) -> Iterator[LocalAws]:
    with LocalAws(log_path=tmp_path / "functions.log") as aws:
        aws.deploy({"DatastoreId": DATASTORE_ID, "ImportOutputBucket": "output"})
        yield aws


@pytest.fixture(scope="module")
def node_url() -> Iterator[str]:
    """A node that is ready."""

    class Ready(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ready) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


Examined = Callable[..., list[Finding]]


@pytest.fixture
def examined(aws: LocalAws, node_url: str) -> Examined:
    def run(*, ahead_s: float = 0, **environment: str) -> list[Finding]:
        given = {"NODE_URLS": json.dumps({"node-a": node_url})} | environment

        def now() -> datetime:
            return datetime.now(UTC) + timedelta(seconds=ahead_s)

        return list(examine(read_stack("local"), given, now=now))

    return run


def failures(findings: list[Finding]) -> list[Finding]:
    return [one for one in findings if one.health == "failure"]


def test_nothing_is_wrong_with_the_stack_as_it_is_shipped(examined: Examined) -> None:
    findings = examined()

    assert failures(findings) == []
    assert {one.check for one in findings if one.health == "ok"} >= {
        "settings", "clock", "table", "documents", "lookup key", "events", "queues", "routing",
        "nodes", "gate", "permissions", "quota",
    }  # fmt: skip
    # moto knows no account settings: what cannot be checked is not called right
    assert {one.check for one in findings if one.health == "unknown"} == {"concurrency"}


def rule_of(aws: LocalAws, logical_id: str) -> str:
    return aws.physical[logical_id].rsplit("/", 1)[-1]


def disable_rule(aws: LocalAws) -> None:
    boto3.client("events").disable_rule(Name=rule_of(aws, "ImportMachineHealthImagingEvent"))


def take_targets(aws: LocalAws) -> None:
    events, name = boto3.client("events"), rule_of(aws, "AssignmentMachineStudyAssigned")
    targets = events.list_targets_by_rule(Rule=name)["Targets"]
    events.remove_targets(Rule=name, Ids=[one["Id"] for one in targets])


def delete_rule(aws: LocalAws) -> None:
    events, name = boto3.client("events"), rule_of(aws, "SweepAssignmentsFunctionEveryMinute")
    targets = events.list_targets_by_rule(Rule=name)["Targets"]
    events.remove_targets(Rule=name, Ids=[one["Id"] for one in targets])
    events.delete_rule(Name=name)


def other_data_store(aws: LocalAws) -> None:
    pattern = {"source": ["aws.medical-imaging"], "detail": {"datastoreId": ["0" * 32]}}
    boto3.client("events").put_rule(
        Name=rule_of(aws, "ImportMachineHealthImagingEvent"), EventPattern=json.dumps(pattern)
    )


def delete_queue(aws: LocalAws) -> None:
    boto3.client("sqs").delete_queue(QueueUrl=aws.outputs["NodeQueueUrl"])


def no_dead_letter_queue(aws: LocalAws) -> None:
    boto3.client("sqs").set_queue_attributes(
        QueueUrl=aws.outputs["NodeQueueUrl"], Attributes={"RedrivePolicy": ""}
    )


def dead_letter(aws: LocalAws) -> None:
    boto3.client("sqs").send_message(
        QueueUrl=aws.physical["EventsDeadLetterQueue"], MessageBody="{}"
    )


def disable_key(aws: LocalAws) -> None:
    boto3.client("kms").disable_key(KeyId=aws.outputs["LookupKeyArn"].rsplit("/", 1)[-1])


def wrong_key(aws: LocalAws) -> None:
    made = boto3.client("kms").create_key(KeyUsage="ENCRYPT_DECRYPT", KeySpec="SYMMETRIC_DEFAULT")[
        "KeyMetadata"
    ]
    change(aws, LOOKUP_KEY_ID=made["KeyId"])


def keep_for_ever(aws: LocalAws) -> None:
    boto3.client("dynamodb").update_time_to_live(
        TableName=aws.outputs["TableName"],
        TimeToLiveSpecification={"Enabled": False, "AttributeName": "expires_at"},
    )


def drop_index(aws: LocalAws) -> None:
    boto3.client("dynamodb").update_table(
        TableName=aws.outputs["TableName"],
        GlobalSecondaryIndexUpdates=[{"Delete": {"IndexName": "by_patient"}}],
    )


def delete_bucket(aws: LocalAws) -> None:
    boto3.client("s3").delete_bucket(Bucket=aws.outputs["DocumentsBucketName"])


def unknown_location(aws: LocalAws) -> None:
    change(aws, IMPORT_LOCATIONS='["home", "away"]')


def broken_routing(aws: LocalAws) -> None:
    change(aws, ROUTING='{"nodes": {"n": "https://q"}, "locations": {"home": ["other"]}}')


def issuer_without_keys(aws: LocalAws) -> None:
    client = boto3.client("lambda")
    issuers = [{"issuer": "http://127.0.0.1:9/", "audiences": ["a"]}]
    client.update_function_configuration(
        FunctionName=aws.physical["AuthorizeFunction"],
        Environment={"Variables": {"TOKEN_ISSUERS": json.dumps(issuers)}},
    )


def overdue_notice(aws: LocalAws) -> None:
    now = datetime.now(UTC)
    runtime.runs().record(
        Run(
            run_id="notice-1", kind="notice", at=now, outcome="waiting", assignment_id="a-1",
            deadline_at=now - timedelta(minutes=10),
        )
    )  # fmt: skip


def refused_call(aws: LocalAws) -> None:
    failed_run(cause="AccessDeniedError: SearchImageSets: AccessDeniedException")


def throttled_call(aws: LocalAws) -> None:
    failed_run(cause="OriginThrottledError: GetImageSetMetadata: ThrottlingException")


def failed_run(*, cause: str) -> None:
    runtime.runs().record(
        Run(run_id="p-1", kind="prefetch", at=datetime.now(UTC), outcome="failed", cause=cause)
    )


def change(aws: LocalAws, **variables: str) -> None:
    client, name = boto3.client("lambda"), aws.physical["PlanWarmFunction"]
    known = client.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    text = {key: str(value) for key, value in (known | variables).items()}  # as Lambda has them
    client.update_function_configuration(FunctionName=name, Environment={"Variables": text})


PLANTED: dict[str, tuple[Callable[[LocalAws], None], str, str, str]] = {
    "a rule that is off": (disable_rule, "events", "DISABLED", "aws events enable-rule --name"),
    "a rule that leads nowhere": (take_targets, "events", "leads nowhere", "deploy the stack"),
    "a rule that is gone": (delete_rule, "events", "is gone", "deploy the stack again"),
    "a rule about another data store": (other_data_store, "events", "0" * 32, "DatastoreId"),
    "a queue that is not there": (delete_queue, "queues", "no queue", "parameter Routing"),
    "a queue that keeps bad orders": (
        no_dead_letter_queue, "queues", "no dead-letter queue", "deploy the stack again",
    ),
    "dead letters": (dead_letter, "queues", "1 messages lie in EventsDead", "reconcile"),
    "a lookup key that is off": (disable_key, "lookup key", "Disabled", "aws kms enable-key"),
    "a lookup key of another kind": (wrong_key, "lookup key", "ENCRYPT_DECRYPT", "HMAC_256"),
    "a table that never forgets": (
        keep_for_ever, "table", "time to live is off", "update-time-to-live",
    ),
    "a table without an index": (drop_index, "table", "by_patient", "one index at a time"),
    "a bucket that is gone": (delete_bucket, "documents", "no bucket", "deploy the stack again"),
    "an unknown location": (
        unknown_location, "settings", "import_locations: ", "change the parameter",
    ),
    "settings that are none": (broken_routing, "settings", "routing", "deploy the stack again"),
    "an issuer without keys": (issuer_without_keys, "keys", "cannot be had", "reachable"),
    "a watchdog that does not run": (overdue_notice, "gate", "past their deadline", "reconcile"),
    "a role that lacks a permission": (
        refused_call, "permissions", "SearchImageSets", "give the role",
    ),
    "a quota that is too small": (throttled_call, "quota", "ThrottlingException", "Service Quotas"),
}  # fmt: skip


@pytest.mark.parametrize("what", PLANTED)
def test_what_is_broken_is_named_with_its_cure_and_nothing_else_is(
    aws: LocalAws, examined: Examined, what: str
) -> None:
    plant, check, found, cure = PLANTED[what]
    plant(aws)

    [finding] = failures(examined())

    assert finding.check == check
    assert found in finding.found
    assert cure in finding.cure


def test_more_than_ten_things_are_planted() -> None:
    assert len(PLANTED) >= 10


def test_a_clock_that_is_off_is_named_for_aws_and_for_the_node(examined: Examined) -> None:
    found = failures(examined(ahead_s=600))

    assert [one.check for one in found] == ["clock", "clock"]
    assert found[0].found.startswith("AWS' clock is -6")
    assert found[1].found.startswith("node-a's clock is -6")
    assert all("NTP" in one.cure for one in found)


def test_a_node_that_does_not_answer_is_named(examined: Examined) -> None:
    [finding] = failures(examined(NODE_URLS='{"node-a": "http://127.0.0.1:9"}'))

    assert finding.check == "nodes"
    assert "teleprefetch drain node-a" in finding.cure


def test_a_node_whose_address_nobody_knows_is_a_warning(examined: Examined) -> None:
    findings = examined(NODE_URLS="")

    assert failures(findings) == []
    [finding] = [one for one in findings if one.check == "nodes"]
    assert (finding.health, "NODE_URLS" in finding.cure) == ("warning", True)


def test_who_may_not_look_is_told_what_policy_lets_them(
    examined: Examined, monkeypatch: pytest.MonkeyPatch
) -> None:
    from teleprefetch.operate import doctor_aws, doctor_checks, status

    for module in (doctor_aws, doctor_checks, status):
        monkeypatch.setattr(module, "client", _refusing(module.client))

    found = failures(examined())

    assert {one.check for one in found} >= {"table", "documents", "queues", "events"}
    assert all("OperatorPolicyArn" in one.cure for one in found)


def _refusing(make: Callable[[str], Any]) -> Callable[[str], Any]:
    from botocore.exceptions import ClientError

    def refuse(**_: Any) -> None:
        answer = {
            "Error": {"Code": "AccessDeniedException", "Message": ""},
            "ResponseMetadata": {"HTTPStatusCode": 403},
        }
        raise ClientError(answer, "Any")  # type: ignore[arg-type]

    def made(service: str) -> Any:
        client = make(service)
        client.meta.events.register("before-call", refuse)
        return client

    return made
