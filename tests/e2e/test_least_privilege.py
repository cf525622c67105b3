"""Each function, and the node, may do what its code does on AWS, and nothing else.

The story is run with every call written down, and held against the role that the template gives:
an action that is missing fails here as it would on AWS, and one too many too.
"""

import json
import re
import threading
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import boto3
import pydicom
import pytest
from botocore.client import BaseClient
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid
from samtranslator.yaml_helper import yaml_parse

from teleprefetch import runtime
from teleprefetch.adapters.dicomweb_service import DicomwebService
from teleprefetch.assignment import prefetch_id_of_assignment
from teleprefetch.local import demo_input
from teleprefetch.local.aws import TEMPLATE
from teleprefetch.local.lambdas import Lambdas
from teleprefetch.local.stack import DATASTORE_ID, NODE, LocalStack, StackOptions
from teleprefetch.local.template import expand
from tests.aws_requests import SESSION, NodeRequests, noted
from tests.e2e.conftest import SCALE, Site
from tests.waiting import until

NOT_CALLS: Final = {
    "s3:ListBucket": "without it S3 answers 403 for an object that is not there, and not 404",
    "sqs:SendMessage": "Lambda itself sends a failed invocation to the dead-letter queue",
}
# What services ask of the key for who calls them; no emulator does (Amazon S3 user guide, "Using
# server-side encryption with AWS KMS"; SQS developer guide, "Key management").
KEY_USES: Final = {
    "s3:GetObject": {"kms:Decrypt"},
    "s3:PutObject": {"kms:GenerateDataKey"},
    "sqs:ReceiveMessage": {"kms:Decrypt"},
    "sqs:SendMessage": {"kms:GenerateDataKey", "kms:Decrypt"},
}
DICOMWEB: Final = {
    "search_for_studies": "SearchDICOMStudies",
    "search_for_series": "SearchDICOMSeries",
    "retrieve_series_metadata": "GetDICOMSeriesMetadata",
    "retrieve_frame": "GetDICOMInstanceFrames",
}
CHECKPOINTS: Final = "local-checkpoints"
SERVICES: Final = {"SFN": "states", "EventBridge": "events", "Medical Imaging": "medical-imaging"}


class Calls:
    """What each function called, by its logical id."""

    def __init__(self, *, documents: str) -> None:
        self.documents = documents
        self.made: defaultdict[str, set[str]] = defaultdict(set)
        self._now = threading.local()

    def note(self, action: str) -> None:
        function = getattr(self._now, "function", None)
        if function is not None:
            self.made[function].add(action)

    def note_key(self, action: str, bucket: str | None) -> None:
        """Note what the key is asked for an action on what is encrypted with it."""
        if action.startswith("dynamodb:"):
            self.note("kms:Decrypt")
        elif bucket == self.documents:
            for use in KEY_USES[action]:
                self.note(use)

    def runs(self, function: str | None) -> None:
        self._now.function = function

    def carried(self, work: Any) -> Any:
        """The same work, of the function that runs now, for another thread."""
        function = getattr(self._now, "function", None)

        def done(*given: Any, **named: Any) -> Any:
            self.runs(function)
            return work(*given, **named)

        return done


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The site of this folder's tests, whose node has a session and keeps checkpoints in S3."""
    folder = tmp_path_factory.mktemp("samples") / "all"
    samples = demo_input.made_up(folder, today=datetime.now(UTC).date(), scale=SCALE)
    node = {
        "AWS_SESSION_TOKEN": SESSION,
        "AUDIT_CHECKPOINTS": f"s3://{CHECKPOINTS}",
        "HEARTBEAT_S": "0.2",
    }
    gate = {"stat": {"deadline_s": 0}, "routine": {"required_priors": 1}}
    options = StackOptions(
        with_node=False, node_variables=node, parameters={"GateRules": json.dumps(gate)}
    )
    with LocalStack(options) as stack:
        boto3.client("s3").create_bucket(Bucket=CHECKPOINTS, ObjectLockEnabledForBucket=True)
        yield Site(stack, samples)


@pytest.fixture(scope="module")
def node_requests(site: Site) -> Iterator[NodeRequests]:
    outputs = site.stack.aws.outputs
    requests = NodeRequests(
        {
            outputs["TableName"]: "Table",
            outputs["NodeQueueUrl"].rpartition("/")[2]: "NodeQueue",
            outputs["DocumentsBucketName"]: "DocumentsBucket",
            CHECKPOINTS: "AuditBucket",
        }
    )
    with noted(requests):
        site.stack.node.start()
        yield requests


@pytest.fixture(scope="module")
def calls(site: Site, node_requests: NodeRequests) -> Iterator[Calls]:
    calls = Calls(documents=site.stack.aws.outputs["DocumentsBucketName"])
    logical = {name: logical for logical, name in site.stack.aws.physical.items()}
    run, call, submit = Lambdas._run, BaseClient._make_api_call, ThreadPoolExecutor.submit

    def noted_run(self: Lambdas, context: Any, *rest: Any) -> None:
        calls.runs(logical[context.function_name])
        run(self, context, *rest)

    def noted_call(self: Any, operation: str, parameters: Any) -> Any:
        service = self.meta.service_model.service_id
        action = f"{SERVICES.get(service, service.lower())}:{operation}"
        calls.note(action)
        calls.note_key(action, parameters.get("Bucket"))
        return call(self, operation, parameters)

    def noted_submit(self: Any, work: Any, /, *given: Any, **named: Any) -> Any:
        return submit(self, calls.carried(work), *given, **named)

    def noted_dicomweb(method: Any, action: str, self: Any, *given: Any, **named: Any) -> Any:
        calls.note(f"medical-imaging:{action}")
        return method(self, *given, **named)

    with (
        patch.object(Lambdas, "_run", noted_run),
        patch.object(ThreadPoolExecutor, "submit", noted_submit),
        patch.object(BaseClient, "_make_api_call", noted_call),
        patch.multiple(
            DicomwebService,
            **{
                name: _method(partial(noted_dicomweb, getattr(DicomwebService, name), action))
                for name, action in DICOMWEB.items()
            },
        ),
    ):
        _tell_the_story(site)
        yield calls


def _method(function: Any) -> Any:
    return lambda self, *given, **named: function(self, *given, **named)


def _tell_the_story(site: Any) -> None:
    """Everything that makes a function do what only it does."""
    uid = site.samples.study_instance_uid
    site.import_files(site.samples.history, "history")
    site.import_files(site.samples.current, "current")
    for _ in range(2):  # the second time it is admitted already
        site.assign("in-time", uid, seconds=40)
        site.notice("in-time")
    _of_priority(site, uid, "stat")
    _of_priority(site, uid, "routine")  # what it requires is told by the node
    _image_set_event(site)
    _too_late(site, uid)
    _broken_prefetch(site)
    _lost_import(site)
    _failed_assignment(site, uid)
    _lost_plan(site)
    site.quiet()


def _of_priority(site: Any, uid: str, priority: str) -> None:
    """One assignment, which is called as its priority is."""
    detail = _assigned(site, priority, uid) | {"priority": priority}
    site.send("worklist", "Study Assigned", detail)
    site.notice(priority)
    site.outcome_of_assignment(priority)


def _image_set_event(site: Any) -> None:
    """Twice: the second time its outcome stands already."""
    [one, *_] = site.held(site.samples.study_instance_uid)
    detail = {
        "imagingVersion": "1.0",
        "datastoreId": DATASTORE_ID,
        "imagesetId": one["image_set_id"],
        "imageSetState": "ACTIVE",
        "imageSetWorkflowStatus": "CREATED",
        "imageSetVersionId": "1",
    }
    for _ in range(2):
        before = len(site.executions("Import"))
        site.send("aws.medical-imaging", "Image Set Created", detail)
        until(lambda: len(site.executions("Import")) > before, "the import to start", within_s=60)  # noqa: B023
        site.quiet()


def _too_late(site: Any, uid: str) -> None:
    """A node that is away makes the notice partial; back again, it makes it warm."""
    site.stack.node.kill()
    purged = site.stack.folder / "store"
    for path in sorted(purged.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    site.assign("late", uid, seconds=5)
    site.notice("late")
    site.stack.node.start()
    site.outcome_of_assignment("late")
    site.quiet()


def _broken_prefetch(site: Any) -> None:
    """A prefetch that Step Functions itself fails: its waiter is told by the rule."""
    site.stack.node.kill()
    site.assign("broken", site.samples.study_instance_uid, seconds=60)

    until(lambda: _is_prefetching(site, "broken"), "the prefetch to run", within_s=60)
    name = prefetch_id_of_assignment("broken")
    every = site.executions("Prefetch")
    [running] = [one for one in every if one["name"] == name]
    # of an import, whose outcome stands and for which nobody waits
    ended = next(one for one in every if not json.loads(one["input"])["request"]["waiter"])
    assert ended["status"] == "SUCCEEDED"
    for one in (running, ended):
        detail = {"status": "ABORTED", "input": one["input"], "executionArn": one["executionArn"]}
        _invoke(site, "RecordFailureFunction", {"source": "aws.states", "detail": detail})
    site.notice("broken")
    site.assign("overdue", site.samples.study_instance_uid, seconds=60)
    until(lambda: _is_prefetching(site, "overdue"), "the assignment to wait", within_s=60)
    _sweep_later(site, "SweepAssignmentsFunction", minutes=2)
    assert runtime.assignments().notice("overdue") is not None
    site.stack.node.start()


def _lost_plan(site: Any) -> None:
    """An order whose plan is gone: the node says that it failed."""
    order = {
        "kind": "warm",
        "prefetch_id": "lost-plan",
        "node": NODE,
        "plan": {"bucket": site.stack.aws.outputs["DocumentsBucketName"], "key": "prefetch/gone"},
        "priority": "high",
        "give_up_at": (datetime.now(UTC) + timedelta(minutes=5)).isoformat(),
        "task_token": "nobody-waits",
    }
    queue = site.stack.aws.outputs["NodeQueueUrl"]
    boto3.client("sqs").send_message(QueueUrl=queue, MessageBody=json.dumps(order))


def _is_prefetching(site: Any, assignment_id: str) -> bool:
    name = prefetch_id_of_assignment(assignment_id)
    return any(one["name"] == name for one in site.executions("Prefetch"))


def _failed_assignment(site: Any, uid: str) -> None:
    """A release that breaks fails its machine; the sweep finds the execution."""
    name = site.stack.aws.physical["ReleaseAssignmentFunction"]

    def broken(_event: Any, _context: Any) -> None:
        raise ZeroDivisionError

    handler = site.stack.aws.lambdas.replace(name, broken)
    site.assign("unreleased", uid, seconds=4)

    def failed() -> bool:
        return any(one["status"] == "FAILED" for one in site.executions("Assignment"))

    until(failed, "the machine to fail", within_s=60)
    site.stack.aws.lambdas.replace(name, handler)
    _invoke(site, "SweepAssignmentsFunction")
    assert runtime.assignments().notice("unreleased") is not None


def _sweep_later(site: Any, function: str, *, minutes: int) -> Any:
    later = datetime.now(UTC) + timedelta(minutes=minutes)
    with patch.object(runtime, "now", lambda: later):
        return _invoke(site, function)


def _lost_import(site: Any) -> None:
    events = boto3.client("events")
    [rule] = [one["Name"] for one in events.list_rules()["Rules"] if "HealthIm" in one["Name"]]
    report = pydicom.dcmread(str(get_testdata_file("reportsi.dcm")))
    report.PatientID, report.StudyInstanceUID = "lost", generate_uid()
    path = Path(site.stack.folder) / "report.dcm"
    report.save_as(path)
    events.disable_rule(Name=rule)
    site.import_files((path,), "lost")
    events.enable_rule(Name=rule)
    assert _sweep_later(site, "SweepImportsFunction", minutes=6)["started"] == 1


def _assigned(site: Any, assignment_id: str, uid: str) -> dict[str, Any]:
    return {
        "schema_version": "1",
        "assignment_id": assignment_id,
        "origin_id": DATASTORE_ID,
        "study_instance_uid": uid,
        "reading_location": "home",
        "assigned_to": site.stack.provider.reads.model_dump(),
    }


def _invoke(site: Any, function: str, event: dict[str, Any] | None = None) -> Any:
    answer = boto3.client("lambda").invoke(
        FunctionName=site.stack.aws.physical[function], Payload=json.dumps(event or {}).encode()
    )
    payload = json.loads(answer["Payload"].read())
    assert "errorType" not in payload, payload
    return payload


def _allowed() -> dict[str, set[str]]:
    with patch.dict("os.environ", {"AWS_DEFAULT_REGION": "us-east-1"}):
        resources = expand(TEMPLATE).cloudformation["Resources"]
    allowed: dict[str, set[str]] = {}
    for name, one in resources.items():
        if one["Type"] == "AWS::Lambda::Function":
            role = resources[one["Properties"]["Role"]["Fn::GetAtt"][0]]
            allowed[name] = {
                action
                for policy in role["Properties"].get("Policies", ())
                for statement in policy["PolicyDocument"]["Statement"]
                for action in _listed(statement["Action"])
            }
    return allowed


def _listed(actions: str | list[str]) -> list[str]:
    return [actions] if isinstance(actions, str) else actions


def _names(resource: Any) -> str:
    """What a statement speaks of: a resource of the template, or the data store."""
    text = json.dumps(resource)
    found = re.search(r"Table|NodeQueue|\w+Bucket|\w+Machine|DataKey(?!Given|Arn)|datastore", text)
    assert found is not None, text
    return found[0]


def _allowed_to_nodes() -> set[str]:
    """Each action and what it may be done to, by the managed policies of a node's role."""
    resources = yaml_parse(TEMPLATE.read_text())["Resources"]
    role = resources["NodeRole"]["Properties"]
    assert "Policies" not in role
    return {
        f"{action} {_names(statement['Resource'])}"
        for policy in role["ManagedPolicyArns"]
        for statement in resources[policy["Ref"]]["Properties"]["PolicyDocument"]["Statement"]
        for action in _listed(statement["Action"])
    }


ALLOWED: Final = _allowed()


@pytest.mark.parametrize("function", sorted(ALLOWED.keys() - {"AuthorizeFunction"}))
def test_a_function_may_do_what_it_does_and_nothing_else(calls: Calls, function: str) -> None:
    allowed = ALLOWED[function]
    of_lambda = KEY_USES["sqs:SendMessage"] if "sqs:SendMessage" in allowed else set()

    assert calls.made[function] | of_lambda == allowed - NOT_CALLS.keys()


def test_a_node_may_do_what_it_does_and_nothing_else(
    calls: Calls, node_requests: NodeRequests, site: Site
) -> None:
    waiters = {json.loads(one["input"])["request"]["waiter"] for one in site.executions("Prefetch")}

    def made() -> set[str]:
        # orders, records and plans are encrypted with the key, which services ask for the node
        return node_requests.made(waiters=waiters) | {"kms:Decrypt DataKey"}

    late = {"s3:PutObject AuditBucket", "states:SendTaskFailure PrefetchMachine"}
    until(lambda: late <= made(), "a checkpoint, one a minute, and the failure", within_s=90)
    assert made() == _allowed_to_nodes()


def test_the_authorizer_may_do_nothing() -> None:
    assert ALLOWED["AuthorizeFunction"] == set()


def test_no_action_is_a_wildcard() -> None:
    assert [one for every in ALLOWED.values() for one in every if "*" in one] == []
