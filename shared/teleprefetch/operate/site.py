"""A running stack as an operator reaches it: its settings, machines and table, through boto3."""

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import boto3
from botocore.config import Config

from teleprefetch.adapters.aws_errors import in_our_words
from teleprefetch.adapters.data_stores import of_data_stores
from teleprefetch.adapters.dynamodb import DynamoAssignments, DynamoOutcomes, DynamoProgress
from teleprefetch.adapters.dynamodb_nodes import DynamoNodes
from teleprefetch.adapters.dynamodb_runs import DynamoRuns
from teleprefetch.adapters.events import EventBridgeEvents
from teleprefetch.adapters.histories import StepFunctionsHistories
from teleprefetch.adapters.image_set_changes import HealthImagingChanges
from teleprefetch.adapters.import_jobs import HealthImagingImportJobs
from teleprefetch.adapters.kms import KmsLookupKeys
from teleprefetch.adapters.node_http import NodeHttp
from teleprefetch.adapters.origins import open_origins
from teleprefetch.adapters.s3 import S3Documents
from teleprefetch.errors import InvalidPayloadError
from teleprefetch.ports import ImportJobs, Origin
from teleprefetch.run_records import Machine
from teleprefetch.settings import PipelineSettings, from_environment
from teleprefetch.steps.release_assignment import Desk

if TYPE_CHECKING:
    from mypy_boto3_medical_imaging.client import HealthImagingClient

STACK_VARIABLE: Final = "TELEPREFETCH_STACK"
TOKEN_VARIABLE: Final = "TELEPREFETCH_TOKEN_FILE"  # noqa: S105 - the name of a variable
_KNOWS_ALL: Final = "PlanWarmFunction"  # a function whose variables are all the settings
_MAKING: Final = threading.Lock()
_CLIENTS: Final = Config(
    connect_timeout=3, read_timeout=15, retries={"mode": "standard", "total_max_attempts": 3}
)


@dataclass(frozen=True)
class Stack:
    """What CloudFormation and a function of it say: variables, outputs, resources by logical id."""

    name: str
    variables: Mapping[str, str]
    outputs: Mapping[str, str]
    resources: Mapping[str, str]


def client(service: str, *, region: str | None = None) -> Any:
    """A client that gives up soon, since a person waits; made in any thread."""
    with _MAKING:  # boto3's session is not for several threads at once (its guide, "Session")
        return boto3.client(service, region_name=region, config=_CLIENTS)  # type: ignore[call-overload]


def read_stack(name: str) -> Stack:
    """What is deployed under a name.

    Raises:
        InvalidPayloadError: there is no such stack, or it is another's.
        AccessDeniedError: the caller may not see it.
    """
    with in_our_words(f"stack {name}"):
        cloudformation = client("cloudformation")
        [stack] = cloudformation.describe_stacks(StackName=name)["Stacks"]
        # DescribeStackResources tells of a hundred at most (CloudFormation API reference)
        pages = cloudformation.get_paginator("list_stack_resources").paginate(StackName=name)
        resources = {
            one["LogicalResourceId"]: one["PhysicalResourceId"]
            for page in pages
            for one in page["StackResourceSummaries"]
            if "PhysicalResourceId" in one
        }
        if _KNOWS_ALL not in resources:
            raise InvalidPayloadError(f"stack {name}: has no {_KNOWS_ALL}; not teleprefetch's")
        function = client("lambda").get_function_configuration(FunctionName=resources[_KNOWS_ALL])
    return Stack(
        name=name,
        variables=dict(function.get("Environment", {}).get("Variables", {})),
        outputs={one["OutputKey"]: one["OutputValue"] for one in stack.get("Outputs", [])},
        resources=resources,
    )


def stack_of(name: str | None, environment: Mapping[str, str]) -> Stack:
    """The stack that is meant: by name, or by the functions' own variables in the environment.

    Raises:
        InvalidPayloadError: neither is given.
    """
    if name:
        return read_stack(name)
    if not environment.get("TABLE_NAME"):
        raise InvalidPayloadError(
            f"--stack: missing; name the stack, set {STACK_VARIABLE}, or give the functions'"
            " variables (shared/docs/reference.md)"
        )
    outputs = {
        "PrefetchMachineArn": environment.get("PREFETCH_MACHINE_ARN", ""),
        "ImportMachineArn": environment.get("IMPORT_MACHINE_ARN", ""),
        "AssignmentMachineArn": environment.get("ASSIGNMENT_MACHINE_ARN", ""),
    }
    return Stack(name="", variables=dict(environment), outputs=outputs, resources={})


class Site:
    """The ports of one stack, each made when it is first used.

    Args:
        stack: what is deployed.
        environment: where `NODE_URLS` and the file of the operator's token may be.

    Raises:
        InvalidPayloadError: the stack's settings are not what they should be.
    """

    def __init__(self, stack: Stack, environment: Mapping[str, str] = os.environ) -> None:
        self.stack = stack
        given = dict(stack.variables)
        if environment.get("NODE_URLS"):
            given["NODE_URLS"] = environment["NODE_URLS"]
        self.settings = from_environment(PipelineSettings, given)
        self._token = _token(environment.get(TOKEN_VARIABLE, ""))

    @property
    def machines(self) -> dict[Machine, str]:
        """The machines by name."""
        outputs = self.stack.outputs
        return {
            "import": outputs["ImportMachineArn"],
            "prefetch": outputs["PrefetchMachineArn"],
            "assignment": outputs["AssignmentMachineArn"],
        }

    @cached_property
    def runs(self) -> DynamoRuns:
        """The run records."""
        return DynamoRuns(*self._table)

    @cached_property
    def outcomes(self) -> DynamoOutcomes:
        """The outcomes."""
        return DynamoOutcomes(*self._table)

    @cached_property
    def progress(self) -> DynamoProgress:
        """The nodes' reports."""
        return DynamoProgress(*self._table)

    @cached_property
    def assignments(self) -> DynamoAssignments:
        """The assignments and notices."""
        return DynamoAssignments(*self._table)

    @cached_property
    def nodes(self) -> DynamoNodes:
        """What operators said of nodes."""
        return DynamoNodes(self._table[0], self._table[1])

    @cached_property
    def documents(self) -> S3Documents:
        """The plans and rankings."""
        return S3Documents(client("s3"), self.settings.documents_bucket)

    @cached_property
    def histories(self) -> StepFunctionsHistories:
        """The machines' executions."""
        return StepFunctionsHistories(client("stepfunctions"), self.machines)

    @cached_property
    def origins(self) -> Mapping[str, Origin]:
        """The archives."""
        return open_origins(self.settings.origins)

    @cached_property
    def image_set_changes(self) -> Mapping[str, HealthImagingChanges]:
        """What changed in each data store."""
        return of_data_stores(self.settings.origins, HealthImagingChanges, client=_medical_imaging)

    @cached_property
    def import_jobs(self) -> Mapping[str, ImportJobs]:
        """The import jobs of each data store."""
        return of_data_stores(
            self.settings.origins, HealthImagingImportJobs, client=_medical_imaging
        )

    @cached_property
    def lookup_keys(self) -> KmsLookupKeys:
        """The key of accession numbers and patients.

        Raises:
            InvalidPayloadError: the site has none.
        """
        if not self.settings.lookup_key_id:
            raise InvalidPayloadError(
                "LOOKUP_KEY_ID: the site records neither accession nor patient"
            )
        return KmsLookupKeys(client("kms"), self.settings.lookup_key_id)

    @cached_property
    def node_http(self) -> NodeHttp:
        """The nodes' own addresses."""
        return NodeHttp(self.settings.node_urls, token=self._token)

    @cached_property
    def desk(self) -> Desk:
        """What a release works with."""
        return Desk(
            assignments=self.assignments,
            progress=self.progress,
            documents=self.documents,
            documents_bucket=self.settings.documents_bucket,
            events=EventBridgeEvents(client("events"), self.settings.event_bus_name),
            outcomes=self.outcomes,
            runs=self.runs,
            viewer_url=self.settings.viewer_url,
        )

    @cached_property
    def _table(self) -> tuple[Any, str, int]:
        return client("dynamodb"), self.settings.table_name, self.settings.records_kept_days


def _medical_imaging(region: str) -> "HealthImagingClient":
    made: HealthImagingClient = client("medical-imaging", region=region)
    return made


def _token(path: str) -> str:
    """The token in a file, alone or as the header that curl takes; empty without a file."""
    if not path:
        return ""
    try:
        text = Path(path).read_text()
    except OSError as error:
        raise InvalidPayloadError(f"{TOKEN_VARIABLE}: cannot be read") from error
    return text.strip().removeprefix("Authorization:").strip().removeprefix("Bearer").strip()


def caller() -> str:
    """Who asks, by the credentials in use."""
    with in_our_words("caller"):
        return str(client("sts").get_caller_identity()["Arn"])
