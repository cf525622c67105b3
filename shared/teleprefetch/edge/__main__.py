"""Runs a node by the environment: `python -m teleprefetch.edge`."""

import logging
import os
import sys
from functools import partial
from typing import Final

import boto3
from botocore.config import Config

from teleprefetch.adapters.dynamodb import DynamoProgress
from teleprefetch.adapters.origins import open_origins
from teleprefetch.adapters.quota_ledger import DynamoQuotaLedger
from teleprefetch.adapters.retrying import NO_RETRIES
from teleprefetch.adapters.s3 import S3Documents
from teleprefetch.adapters.sqs import SqsOrders
from teleprefetch.adapters.step_functions import StepFunctionsTasks
from teleprefetch.adapters.transfers import Transfers
from teleprefetch.edge.archives.allocating import look_for_garbage_less_often
from teleprefetch.edge.archives.pacing import Pace
from teleprefetch.edge.node import Node
from teleprefetch.edge.starting import begin
from teleprefetch.edge.watching.tracing import open_tracing
from teleprefetch.errors import InvalidPayloadError, PrefetchError

_LOG: Final = logging.getLogger("teleprefetch.edge")
# While the ledger is slow the node goes on alone, which is better than waiting for it.
_LEDGER_CONFIG: Final = Config(
    connect_timeout=1, read_timeout=1, retries={"total_max_attempts": 1}, tcp_keepalive=True
)


def main() -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        InvalidPayloadError: a setting is missing or breaks its contract.
        NodeUnavailableError: the store cannot be opened.
    """
    settings, ended = begin()
    pace = Pace(most=settings.fetch_concurrency)
    origins, reading_origins = (
        open_origins(
            settings.origins,
            connections=settings.fetch_concurrency,
            retries=NO_RETRIES,
            open_fetcher=fetcher,
        )
        for fetcher in (partial(Transfers, first_byte=pace.first_byte), Transfers)
    )
    node = Node(
        settings,
        origins=origins,
        reading_origins=reading_origins,
        as_reader=reading_origins.as_reader,
        orders=SqsOrders(boto3.client("sqs"), settings.queue_url, settings.visibility_s),
        tasks=StepFunctionsTasks(boto3.client("stepfunctions")),
        progress=DynamoProgress(
            boto3.client("dynamodb"), settings.table_name, settings.records_kept_days
        ),
        documents=S3Documents(boto3.client("s3"), bucket=""),
        quota_ledger=DynamoQuotaLedger(
            boto3.client("dynamodb", config=_LEDGER_CONFIG), settings.table_name
        ),
        pace=pace,
        make_ready=origins.make_ready,
        tracing=open_tracing(os.environ, node=settings.node),
    )
    look_for_garbage_less_often()
    node.start()
    scheme = "https" if settings.tls_certificate_path else "http"
    print(f"{settings.node} serves on {scheme}://{settings.host}:{node.port}", flush=True)
    ended.wait()
    node.stop()
    origins.close()
    reading_origins.close()


def run() -> int:
    """0 once the node has ended; 2: a setting is wrong; 1: it cannot start; the log says why."""
    try:
        main()
    except PrefetchError as error:
        _LOG.critical("the node did not start: %s: %s", type(error).__name__, error)
        return 2 if isinstance(error, InvalidPayloadError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(run())
