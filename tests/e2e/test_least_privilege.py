"""Each function, and the node, may do what its code does on AWS, and nothing else.

The story is run with every call written down, and held against the role that the template gives:
an action that is missing fails here as it would on AWS, and one too many too.
"""

import json
import re
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
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
from botocore.exceptions import ClientError
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from teleprefetch import runtime
from teleprefetch.adapters.dicomweb_service import DicomwebService
from teleprefetch.assignment import prefetch_id_of_assignment
from teleprefetch.local import demo_input
from teleprefetch.local.lambdas import Lambdas
from teleprefetch.local.stack import (
    DATASTORE_ID,
    NODE,
    OUTPUT_BUCKET,
    LocalStack,
    StackOptions,
)
from tests.aws_requests import SESSION, NodeRequests, noted
from tests.e2e.conftest import SCALE, Site
from tests.policy_faults import faults
from tests.policy_mutations import mutations
from tests.policy_uses import uses
from tests.recorded_calls import DATASTORE, TASK, Names
from tests.template_policies import MANAGED, Grant, Policies, read_template
from tests.waiting import until

DICOMWEB: Final = {
    "search_for_studies": "SearchDICOMStudies",
    "search_for_series": "SearchDICOMSeries",
    "retrieve_series_metadata": "GetDICOMSeriesMetadata",
    "retrieve_frame": "GetDICOMInstanceFrames",
}
CHECKPOINTS: Final = "local-checkpoints"


class Calls:
    """What each function asked of AWS, by its logical id: each action with its resource."""

    def __init__(self, names: Names) -> None:
        self.made: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
        self._names = names
        self._now = threading.local()

    def note(self, action: str, resource: str) -> None:
        function = getattr(self._now, "function", None)
        if function is not None:
            self.made[function].add((action, resource))

    def note_call(self, service: str, operation: str, given: Mapping[str, Any]) -> None:
        if getattr(self._now, "function", None) is not None:
            for action, resource in self._names.actions(service, operation, given):
                self.note(action, resource)

    def used(self, function: str, *, waiters: set[str]) -> set[Grant]:
        """What its role must allow.

        Args:
            function: its logical id.
            waiters: the task tokens of assignments.
        """
        role = ROLES[function]
        by_lambda = {one for one in uses(POLICIES) if one.holder == role and one.action != MANAGED}
        return by_lambda | {
            Grant(holder=role, action=action, resource=_machine_of(resource, waiters))
            for action, resource in self.made[function]
        }

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
    physical = site.stack.aws.physical | {"<ImportOutputBucket>": OUTPUT_BUCKET}
    calls = Calls(Names(physical, key="DataKey", unencrypted=frozenset({OUTPUT_BUCKET})))
    logical = {name: logical for logical, name in site.stack.aws.physical.items()}
    run, call, submit = Lambdas._run, BaseClient._make_api_call, ThreadPoolExecutor.submit

    def noted_run(self: Lambdas, context: Any, *rest: Any) -> None:
        calls.runs(logical[context.function_name])
        run(self, context, *rest)

    def noted_call(self: Any, operation: str, parameters: Any) -> Any:
        calls.note_call(self.meta.service_model.service_id, operation, parameters)
        try:
            return call(self, operation, parameters)
        except ClientError as error:
            # without it S3 answers 403 for what is not there (S3 API reference, "GetObject")
            if error.response["Error"]["Code"] == "NoSuchKey":
                calls.note_call("S3", "ListObjectsV2", {"Bucket": parameters["Bucket"]})
            raise

    def noted_submit(self: Any, work: Any, /, *given: Any, **named: Any) -> Any:
        return submit(self, calls.carried(work), *given, **named)

    def noted_dicomweb(method: Any, action: str, self: Any, *given: Any, **named: Any) -> Any:
        calls.note(f"medical-imaging:{action}", DATASTORE)
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
    until(lambda: _is_planned("overdue"), "its plan, of which the sweep tells", within_s=60)
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


def _is_planned(assignment_id: str) -> bool:
    return runtime.runs().run(prefetch_id_of_assignment(assignment_id)) is not None


def _failed_assignment(site: Any, uid: str) -> None:
    """A release that breaks fails its machine, before a plan; the sweep finds the execution."""
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


def _listed(actions: str | list[str]) -> list[str]:
    return [actions] if isinstance(actions, str) else actions


def _names(resource: Any) -> str:
    """What a statement speaks of: a resource of the template, or the data store."""
    text = json.dumps(resource)
    found = re.search(r"Table|NodeQueue|\w+Bucket|\w+Machine|DataKey(?!Given|Arn)|datastore", text)
    assert found is not None, text
    return found[0]


def _allowed_to_nodes(resources: dict[str, Any]) -> set[str]:
    """Each action and what it may be done to, by the managed policies of a node's role."""
    role = resources["NodeRole"]["Properties"]
    assert "Policies" not in role
    return {
        f"{action} {_names(statement['Resource'])}"
        for policy in role["ManagedPolicyArns"]
        if isinstance(policy, dict)
        for statement in resources[policy["Ref"]]["Properties"]["PolicyDocument"]["Statement"]
        for action in _listed(statement["Action"])
    }


def _machine_of(resource: str, waiters: set[str]) -> str:
    """The machine that waits with a token, where a resource is one."""
    if not resource.startswith(TASK):
        return resource
    is_assignment = resource.removeprefix(TASK) in waiters
    return POLICIES.arn("AssignmentMachine" if is_assignment else "PrefetchMachine")


def _waiters(site: Site) -> set[str]:
    return {json.loads(one["input"])["request"]["waiter"] for one in site.executions("Prefetch")}


def _allowed_to(function: str, policies: Policies) -> list[Grant]:
    """What is in its role's own policies."""
    role = ROLES[function]
    return [one for one in policies.grants() if one.holder == role and one.action != MANAGED]


POLICIES: Final = Policies(read_template())
ROLES: Final[dict[str, str]] = {
    name: given["Role"]["Fn::GetAtt"][0]
    for name, given in POLICIES.of_type("AWS::Lambda::Function")
}
FUNCTIONS: Final = sorted(ROLES.keys() - {"AuthorizeFunction"})


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_may_do_what_it_does_and_nothing_else(
    calls: Calls, function: str, site: Site
) -> None:
    used = calls.used(function, waiters=_waiters(site))

    assert list(faults(_allowed_to(function, POLICIES), used)) == []


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_functions_policy_with_an_action_less_or_more_is_found(
    calls: Calls, function: str, site: Site
) -> None:
    used = calls.used(function, waiters=_waiters(site))
    every = [one for one in mutations(read_template()) if one.holder == ROLES[function]]
    changed = [one for one in every if not one.is_managed]

    assert len(changed) > 1
    assert [
        one
        for one in changed
        if not list(faults(_allowed_to(function, Policies(one.template())), used))
    ] == []


def test_a_node_may_do_what_it_does_and_nothing_else(
    calls: Calls, node_requests: NodeRequests, site: Site
) -> None:
    waiters = _waiters(site)

    def made() -> set[str]:
        # orders, records and plans are encrypted with the key, which services ask for the node
        return node_requests.made(waiters=waiters) | {"kms:Decrypt DataKey"}

    late = {"s3:PutObject AuditBucket", "states:SendTaskFailure PrefetchMachine"}
    until(lambda: late <= made(), "a checkpoint, one a minute, and the failure", within_s=90)
    assert made() == _allowed_to_nodes(POLICIES.resources)


def test_a_nodes_policy_with_an_action_less_or_more_is_found() -> None:
    """Of a node's, the test above compares sets."""
    changed = [one for one in mutations(read_template()) if one.holder == "NodeRole"]
    shipped = _allowed_to_nodes(POLICIES.resources)
    managed = [one for one in changed if one.is_managed and "Administrator" in one.name]

    assert len(changed) - len(managed) > 10
    assert [
        one.name
        for one in changed
        if one not in managed and _allowed_to_nodes(one.template()["Resources"]) == shipped
    ] == []


def test_the_authorizer_may_do_nothing() -> None:
    assert _allowed_to("AuthorizeFunction", POLICIES) == []
