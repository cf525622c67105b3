"""The composition root of the functions: settings, clients and adapters, each made once.

Nothing here runs at import but the logger: a client is made when a function first asks for it.
"""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING

import boto3
from aws_lambda_powertools import Logger, Metrics
from botocore.config import Config

from teleprefetch.adapters.data_stores import of_data_stores
from teleprefetch.adapters.dynamodb import DynamoAssignments, DynamoOutcomes, DynamoProgress
from teleprefetch.adapters.dynamodb_nodes import DynamoNodes
from teleprefetch.adapters.dynamodb_runs import DynamoRuns
from teleprefetch.adapters.events import EventBridgeEvents
from teleprefetch.adapters.histories import StepFunctionsHistories
from teleprefetch.adapters.image_set_changes import HealthImagingChanges
from teleprefetch.adapters.image_sets import HealthImagingImageSets
from teleprefetch.adapters.import_jobs import HealthImagingImportJobs
from teleprefetch.adapters.kms import KmsLookupKeys
from teleprefetch.adapters.origins import open_origins
from teleprefetch.adapters.s3 import S3Documents
from teleprefetch.adapters.step_functions import StepFunctionsExecutions, StepFunctionsTasks
from teleprefetch.domain.correlation import event_id_of
from teleprefetch.domain.rule_check import checked_rules
from teleprefetch.domain.rules import SiteRules
from teleprefetch.ports import ImageSets, ImportJobs, Origin
from teleprefetch.settings import PipelineSettings, from_environment
from teleprefetch.steps.release_assignment import Desk

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient
    from mypy_boto3_medical_imaging.client import HealthImagingClient

logger = Logger(service="teleprefetch")
metrics = Metrics(namespace="Teleprefetch", service="teleprefetch")

# The machine's Retry is the one layer that waits for minutes; this one rides out a lost packet.
_CLIENTS = Config(
    connect_timeout=3,
    read_timeout=10,
    retries={"mode": "standard", "total_max_attempts": 3},
    max_pool_connections=50,
)


def correlate(event: object) -> None:
    """Have each line of the log name the event that the work came of; none, if it names none."""
    logger.set_correlation_id(event_id_of(event))


def now() -> datetime:
    """The time, aware."""
    return datetime.now(UTC)


@cache
def settings() -> PipelineSettings:
    """The settings, from the environment.

    Raises:
        InvalidPayloadError: a variable is missing or breaks its contract.
    """
    return from_environment(PipelineSettings, os.environ)


@cache
def origins() -> Mapping[str, Origin]:
    """Every archive, by its id."""
    return open_origins(settings().origins)


@cache
def image_sets() -> Mapping[str, ImageSets]:
    """The data stores among the archives, by their id."""
    return of_data_stores(settings().origins, HealthImagingImageSets, client=_medical_imaging)


@cache
def import_jobs() -> Mapping[str, ImportJobs]:
    """The import jobs of each data store, by its id."""
    return of_data_stores(settings().origins, HealthImagingImportJobs, client=_medical_imaging)


@cache
def image_set_changes() -> Mapping[str, HealthImagingChanges]:
    """What changed in each data store, by its id."""
    return of_data_stores(settings().origins, HealthImagingChanges, client=_medical_imaging)


@cache
def documents() -> S3Documents:
    """The documents bucket."""
    return S3Documents(boto3.client("s3", config=_CLIENTS), settings().documents_bucket)


@cache
def executions() -> StepFunctionsExecutions:
    """The `prefetch` machine."""
    client = boto3.client("stepfunctions", config=_CLIENTS)
    return StepFunctionsExecutions(client, settings().prefetch_machine_arn)


@cache
def import_executions() -> StepFunctionsExecutions:
    """The `import` machine."""
    client = boto3.client("stepfunctions", config=_CLIENTS)
    return StepFunctionsExecutions(client, settings().import_machine_arn)


@cache
def tasks() -> StepFunctionsTasks:
    """The waiting tasks."""
    return StepFunctionsTasks(boto3.client("stepfunctions", config=_CLIENTS))


@cache
def events() -> EventBridgeEvents:
    """The event bus."""
    return EventBridgeEvents(boto3.client("events", config=_CLIENTS), settings().event_bus_name)


@cache
def outcomes() -> DynamoOutcomes:
    """The outcomes in the table."""
    return DynamoOutcomes(*_table())


@cache
def progress() -> DynamoProgress:
    """The nodes' reports in the table."""
    return DynamoProgress(*_table())


@cache
def assignments() -> DynamoAssignments:
    """The assignments and notices in the table."""
    return DynamoAssignments(*_table())


@cache
def runs() -> DynamoRuns:
    """The run records in the table."""
    return DynamoRuns(*_table())


@cache
def histories() -> StepFunctionsHistories:
    """The executions of the `assignment` machine."""
    client = boto3.client("stepfunctions", config=_CLIENTS)
    return StepFunctionsHistories(client, {"assignment": settings().assignment_machine_arn})


@cache
def nodes() -> DynamoNodes:
    """What operators said of nodes, in the table."""
    return DynamoNodes(_dynamodb(), settings().table_name)


@cache
def lookup_keys() -> KmsLookupKeys | None:
    """The key of accession numbers and patients; None if the site has none."""
    if not settings().lookup_key_id:
        return None
    return KmsLookupKeys(boto3.client("kms", config=_CLIENTS), settings().lookup_key_id)


def desk() -> Desk:
    """What a release works with."""
    return Desk(
        assignments=assignments(),
        progress=progress(),
        documents=documents(),
        documents_bucket=settings().documents_bucket,
        events=events(),
        outcomes=outcomes(),
        runs=runs(),
        viewer_url=settings().viewer_url,
    )


@cache
def rules() -> SiteRules:
    """The site's rules of relevance; the shipped ones if it has none.

    Raises:
        InvalidPayloadError: they are no TOML, a key is unknown or out of range, or the viewer
            would hang what is never warmed; names the key or both rules.
    """
    return checked_rules(settings().site_rules, at="SITE_RULES")


def forget() -> None:
    """Drop everything made so far, so that the next caller reads the environment anew."""
    for made in (
        settings, origins, image_sets, import_jobs, image_set_changes, documents, executions,
        import_executions, tasks, events, outcomes, progress, assignments, runs, histories, nodes,
        lookup_keys, rules, _dynamodb, _medical_imaging,
    ):  # fmt: skip
        made.cache_clear()


def _table() -> "tuple[DynamoDBClient, str, int]":
    return _dynamodb(), settings().table_name, settings().records_kept_days


@cache
def _dynamodb() -> "DynamoDBClient":
    return boto3.client("dynamodb", config=_CLIENTS)


@cache
def _medical_imaging(region: str) -> "HealthImagingClient":
    return boto3.client("medical-imaging", region_name=region, config=_CLIENTS)
