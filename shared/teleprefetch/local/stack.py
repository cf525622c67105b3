"""The whole pipeline on this machine: AWS, a data store or another archive, and the nodes."""

import contextlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self
from unittest.mock import patch

import boto3

from teleprefetch.errors import InvalidPayloadError
from teleprefetch.local.aws import ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY, LocalAws
from teleprefetch.local.healthimaging import DEFAULT_THROTTLES, HealthImaging, Throttles
from teleprefetch.local.login.issuer import LocalIssuer
from teleprefetch.local.login.oauth import Client
from teleprefetch.local.login.people import OPERATOR, READER, SITE, Person
from teleprefetch.local.login.provider import Provider
from teleprefetch.local.login.tokens import TOKEN_S
from teleprefetch.local.node_process import NodeProcess

DATASTORE_ID: Final = "7e1e9a17000000000000000000000001"
INPUT_BUCKET: Final = "local-dicom-input"
OUTPUT_BUCKET: Final = "local-dicom-output"
LOCATION: Final = SITE
NODE: Final = "node-a"


@dataclass(frozen=True, slots=True)
class StackOptions:
    """What a local stack is made of; the defaults are what an operator would deploy.

    `dicomweb_url` adds an archive of that address as the origin `archive`. `node_variables`
    override the node's settings, `parameters` the template's. `provider` logs the readers in; None
    starts the local issuer, whose viewers' tokens live `token_s`. `node_port` 0 takes a free one.
    """

    dicomweb_url: str | None = None
    throttles: Throttles = DEFAULT_THROTTLES
    bandwidth_bps: int | None = None
    time_scale: float = 1
    with_node: bool = True
    provider: Provider | None = None
    token_s: int = TOKEN_S
    node_port: int = 0
    parameters: Mapping[str, str] = field(default_factory=dict)
    node_variables: Mapping[str, str] = field(default_factory=dict)


class LocalStack:
    """The running stack; entered, everything answers, and left, nothing of it remains."""

    def __init__(self, options: StackOptions | None = None) -> None:
        self._options = options or StackOptions()
        self._issuer: LocalIssuer | None = None
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as opening:
            self.folder = Path(
                opening.enter_context(tempfile.TemporaryDirectory(prefix="teleprefetch-"))
            )
            self.aws = opening.enter_context(
                LocalAws(
                    environment={"AWS_DISABLE_HOST_PREFIX_INJECTION": "true"},
                    time_scale=self._options.time_scale,
                    log_path=self.folder / "functions.log",
                )
            )
            self.data_store = opening.enter_context(self._data_store())
            opening.enter_context(
                patch.dict(os.environ, {"AWS_ENDPOINT_URL_MEDICAL_IMAGING": self.data_store.url})
            )
            self.aws.deploy(self._parameters())
            if self._options.provider is None:
                self._issuer = opening.enter_context(LocalIssuer(token_s=self._options.token_s))
            self.node = self._node()
            if self._issuer is not None:
                self._issuer.register(self.provider.viewer_client(self.node.url))
            opening.callback(self.node.stop)
            if self._options.with_node:
                self.node.start()
            self._open = opening.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def audit_folder(self) -> Path:
        """The node's audit."""
        return self._store / "audit"

    @property
    def _store(self) -> Path:
        return self.folder / "store"

    @property
    def provider(self) -> Provider:
        """Who logs the readers in."""
        if self._options.provider is not None:
            return self._options.provider
        return Provider(issuer=self._local_issuer.url, reader=READER.subject)

    @property
    def _local_issuer(self) -> LocalIssuer:
        if self._issuer is None:
            raise InvalidPayloadError("provider: an outside one, whose tokens are its own")
        return self._issuer

    def register(self, client: Client) -> None:
        """Let a client ask the local issuer for logins.

        Raises:
            InvalidPayloadError: the provider is an outside one.
        """
        self._local_issuer.register(client)

    def token_for(self, person: Person, *, lifetime_s: int = 3600) -> str:
        """An access token of the local issuer, as if this person had logged in.

        Raises:
            InvalidPayloadError: the provider is an outside one.
        """
        return self._local_issuer.token_for(person, lifetime_s=lifetime_s)

    @property
    def origins(self) -> dict[str, Any]:
        """The settings of every archive, by its id."""
        origins: dict[str, Any] = {
            DATASTORE_ID: {
                "kind": "healthimaging",
                "region": REGION,
                "dicomweb_url": self.data_store.url,
            }
        }
        if self._options.dicomweb_url:
            origins["archive"] = {"kind": "dicomweb", "url": self._options.dicomweb_url}
        return origins

    @property
    def environment(self) -> dict[str, str]:
        """What another process needs in its environment to reach this stack."""
        return self.aws.environment | {
            "AWS_ENDPOINT_URL_MEDICAL_IMAGING": self.data_store.url,
        }

    @property
    def operator_environment(self) -> dict[str, str]:
        """What operators' commands need beside it: the stack by name, and the nodes' addresses."""
        return {
            "TELEPREFETCH_STACK": self.aws.stack_name,
            "NODE_URLS": json.dumps({self.node.name: self.node.url}),
        }

    @property
    def addresses(self) -> dict[str, str]:
        """Where everything answers, in words."""
        outputs = self.aws.outputs
        return {
            "AWS": self.aws.url,
            "HealthImaging": self.data_store.url,
            "data store": DATASTORE_ID,
            "DICOM to import": f"s3://{INPUT_BUCKET}/",
            "import job output": f"s3://{OUTPUT_BUCKET}/",
            f"node {self.node.name}": f"{self.node.url}/dicom-web",
            "what it holds": f"{self.node.url}/warm",
            "issuer of tokens": self.provider.issuer,
            "import machine": outputs["ImportMachineArn"],
            "prefetch machine": outputs["PrefetchMachineArn"],
            "assignment machine": outputs["AssignmentMachineArn"],
            "table": outputs["TableName"],
            "documents": f"s3://{outputs['DocumentsBucketName']}/",
            "logs": str(self.folder),
        }

    def _operator_token(self) -> str:
        return self.token_for(OPERATOR)

    def _data_store(self) -> HealthImaging:
        s3 = boto3.client("s3")
        for bucket in (INPUT_BUCKET, OUTPUT_BUCKET):
            s3.create_bucket(Bucket=bucket)
        return HealthImaging(
            s3=s3,
            events=boto3.client("events"),
            datastore_id=DATASTORE_ID,
            region=REGION,
            credentials={ACCESS_KEY_ID: SECRET_ACCESS_KEY},
            throttles=self._options.throttles,
            bandwidth_bps=self._options.bandwidth_bps,
        )

    def _parameters(self) -> dict[str, str]:
        return {
            "DatastoreId": DATASTORE_ID,
            "ImportOutputBucket": OUTPUT_BUCKET,
            "NodeName": NODE,
            "ReadingLocation": LOCATION,
            "Origins": json.dumps(self.origins),
        } | dict(self._options.parameters)

    def _node(self) -> NodeProcess:
        return NodeProcess(
            name=NODE,
            folder=self._store,
            log_path=self.folder / "node.log",
            port=self._options.node_port,
            bearer=self._operator_token if self._issuer is not None else None,
            environment=self.environment
            | {
                "QUEUE_URL": self.aws.outputs["NodeQueueUrl"],
                "TABLE_NAME": self.aws.outputs["TableName"],
                "ORIGINS": json.dumps(self.origins),
                "STORE_BYTES": str(4_000_000_000),
                "HEARTBEAT_S": "2",
                "VISIBILITY_S": "6",
            }
            | self.provider.node_variables()
            | dict(self._options.node_variables),
        )
