"""Runs a node by the environment: `python -m teleprefetch.edge`."""

import os
import signal
import threading
from typing import Any

import boto3

from teleprefetch.adapters.dynamodb import DynamoProgress
from teleprefetch.adapters.origins import open_origins
from teleprefetch.adapters.retrying import RetryPolicy
from teleprefetch.adapters.s3 import S3Documents
from teleprefetch.adapters.sqs import SqsOrders
from teleprefetch.adapters.step_functions import StepFunctionsTasks
from teleprefetch.edge.archives.reading import READER_RETRIES
from teleprefetch.edge.node import Node
from teleprefetch.edge.serving import raise_file_limit
from teleprefetch.edge.watching.logs import log_to_stderr
from teleprefetch.errors import OriginUnavailableError
from teleprefetch.settings import NodeSettings, from_environment


def main() -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        InvalidPayloadError: a setting is missing or breaks its contract.
        NodeUnavailableError: the store cannot be opened.
    """
    log_to_stderr()
    raise_file_limit()
    settings = from_environment(NodeSettings, os.environ)
    ended = threading.Event()

    def end(*_signal: Any) -> None:
        ended.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    origins = open_origins(
        settings.origins,
        connections=settings.fetch_concurrency,
        retries=_patience(settings.origin_patience_s, ended),
    )
    reading_origins = open_origins(
        settings.origins, connections=settings.fetch_concurrency, retries=READER_RETRIES
    )
    node = Node(
        settings,
        origins=origins,
        reading_origins=reading_origins,
        orders=SqsOrders(boto3.client("sqs"), settings.queue_url, settings.visibility_s),
        tasks=StepFunctionsTasks(boto3.client("stepfunctions")),
        progress=DynamoProgress(
            boto3.client("dynamodb"), settings.table_name, settings.records_kept_days
        ),
        documents=S3Documents(boto3.client("s3"), bucket=""),
    )
    node.start()
    scheme = "https" if settings.tls_certificate_path else "http"
    print(f"{settings.node} serves on {scheme}://{settings.host}:{node.port}", flush=True)
    ended.wait()
    node.stop()
    origins.close()
    reading_origins.close()


def _patience(patience_s: float, ended: threading.Event) -> RetryPolicy:
    """Retries that outlast a storm: an order that gives up early leaves a reader waiting later.

    They end at once when the node does.
    """

    def sleep(delay_s: float) -> None:
        if ended.wait(delay_s):
            raise OriginUnavailableError("node: stopping")

    return RetryPolicy(attempts=1000, longest_delay_s=5, give_up_after_s=patience_s, sleep=sleep)


if __name__ == "__main__":
    main()
