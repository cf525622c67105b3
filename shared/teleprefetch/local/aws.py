"""AWS on this machine: moto runs the shipped template, machines and handlers in one process.

Other processes reach the same services over a loopback address, as they would reach AWS.
"""

import contextlib
import io
import json
import logging
import os
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Self, TextIO
from unittest.mock import patch

import boto3
from moto import mock_aws
from moto.awslambda.models import LambdaFunction, LambdaVersion
from moto.core.config import DefaultConfig
from moto.events.models import EventBus
from moto.server import ThreadedMotoServer

from teleprefetch import runtime
from teleprefetch.local import (
    event_bridge,
    kms_keys,
    lambda_alias,
    schedules,
    step_functions,
    tables,
)
from teleprefetch.local.asides import finished
from teleprefetch.local.lambdas import Context, Lambdas
from teleprefetch.local.template import CODE, Handler, expand

REGION: Final = "us-east-1"
ACCESS_KEY_ID: Final = "local"
SECRET_ACCESS_KEY: Final = "local-secret"  # noqa: S105 - signs for the stand-in alone
CREDENTIALS: Final = {
    "AWS_DEFAULT_REGION": REGION,
    "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
    "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
}
"""What boto3 reads of it from the environment."""
TEMPLATE: Final = Path(__file__).resolve().parents[3] / "template.yaml"

_MOTO_CONFIG: Final[DefaultConfig] = {
    "stepfunctions": {"execute_state_machine": True},
    "core": {"mock_credentials": False},
}

_ASIDES_S: Final = 10


class LocalAws:
    """The stack of a template; entered, it is up, and left, nothing of it remains.

    While it is up, boto3 in this process speaks to it, and so does any process that has
    `environment`.
    """

    def __init__(
        self,
        *,
        template: Path = TEMPLATE,
        stack_name: str = "local",
        environment: dict[str, str] | None = None,
        time_scale: float = 1,
        log_path: Path | None = None,
    ) -> None:
        self._template = template
        self.stack_name = stack_name
        self._given = environment or {}
        self._time_scale = time_scale
        self._log_path = log_path
        self._open = contextlib.ExitStack()
        self.lambdas = Lambdas()
        self.outputs: dict[str, str] = {}
        self.physical: dict[str, str] = {}
        self.url = ""

    def __enter__(self) -> Self:
        _log_to(sys.stderr)
        # for as long as this process lives: metrics go to standard output, late ones too
        os.environ["POWERTOOLS_METRICS_DISABLED"] = "true"
        with contextlib.ExitStack() as opening:
            self._set(opening, CREDENTIALS | self._given)
            opening.enter_context(mock_aws(config=_MOTO_CONFIG))
            opening.enter_context(
                step_functions.execution(
                    on_status=self._publish_status, time_scale=self._time_scale
                )
            )
            opening.enter_context(event_bridge.delivery())
            opening.enter_context(kms_keys.keys_of_templates())
            opening.enter_context(tables.read_while_written())
            opening.enter_context(
                patch.object(
                    EventBus,
                    "physical_resource_id",
                    property(lambda bus: bus.name),
                    create=True,
                )
            )
            opening.enter_context(
                patch.object(
                    LambdaVersion, "get_cfn_attribute", lambda_alias.version_attribute, create=True
                )
            )
            opening.enter_context(patch.object(LambdaFunction, "invoke", self._invoker()))
            opening.callback(runtime.forget)
            self._serve(opening)
            self._open = opening.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        # a handler that overran its time is left behind, as the service leaves it
        finished(within_s=_ASIDES_S)
        self._open.close()

    @property
    def environment(self) -> dict[str, str]:
        """What another process needs in its environment to reach this stack."""
        return CREDENTIALS | self._given | {"AWS_ENDPOINT_URL": self.url}

    def deploy(self, parameters: dict[str, str]) -> None:
        """Create the stack and load its handlers.

        Raises:
            ValueError: two functions want different values for one variable, which one process
                cannot give them.
        """
        self._open.enter_context(warnings.catch_warnings())
        # of policies and invoke configurations, which change nothing on one machine; moto says so
        # again whenever somebody asks for the stack's resources
        warnings.filterwarnings("ignore", "Tried to parse AWS::", UserWarning)
        handlers = self._create_stack(parameters)
        self._set(self._open, self._variables())
        runtime.forget()
        self.lambdas.load(
            {self.physical[logical]: handler for logical, handler in handlers.items()}
        )
        self._redirect_logs()
        if self._time_scale == 1:
            self._open.enter_context(schedules.running())

    def _create_stack(self, parameters: dict[str, str]) -> dict[str, Handler]:
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket=CODE["Bucket"])
        s3.put_object(Bucket=CODE["Bucket"], Key=CODE["Key"], Body=_empty_archive())
        expanded = expand(self._template)
        cloudformation = boto3.client("cloudformation")
        cloudformation.create_stack(
            StackName=self.stack_name,
            TemplateBody=json.dumps(expanded.cloudformation),
            Capabilities=["CAPABILITY_IAM"],
            Parameters=[
                {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
            ],
        )
        stack = cloudformation.describe_stacks(StackName=self.stack_name)["Stacks"][0]
        self.outputs = {
            output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])
        }
        resources = cloudformation.describe_stack_resources(StackName=self.stack_name)
        # moto lists a resource of a type it does not know without its name
        self.physical = {
            resource["LogicalResourceId"]: resource["PhysicalResourceId"]
            for resource in resources["StackResources"]
            if "PhysicalResourceId" in resource
        }
        self._let_tables_forget(expanded.cloudformation)
        return expanded.handlers

    def _let_tables_forget(self, template: dict[str, Any]) -> None:
        """Set the tables' time to live, which moto's CloudFormation leaves out."""
        for logical_id, resource in template["Resources"].items():
            given = resource.get("Properties", {}).get("TimeToLiveSpecification")
            if given is not None:
                boto3.client("dynamodb").update_time_to_live(
                    TableName=self.physical[logical_id], TimeToLiveSpecification=given
                )

    @staticmethod
    def _set(opening: contextlib.ExitStack, variables: dict[str, str]) -> None:
        opening.enter_context(patch.dict(os.environ, variables))

    def _serve(self, opening: contextlib.ExitStack) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        logging.getLogger("moto").setLevel(logging.CRITICAL)
        logging.getLogger("samtranslator").setLevel(logging.ERROR)
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        opening.callback(server.stop)
        host, port = server.get_host_and_port()
        self.url = f"http://{host}:{port}"

    def _invoker(self) -> Callable[..., bytes]:
        def invoke(
            function: Any,
            body: str,
            request_headers: dict[str, str],  # noqa: ARG001 - moto's signature
            response_headers: dict[str, str],
        ) -> bytes:
            timeout_s = float(function.timeout or 3)
            context = Context(function.function_name, function.function_arn, timeout_s)
            return self.lambdas.invoke(context, body, response_headers)

        return invoke

    def _variables(self) -> dict[str, str]:
        union: dict[str, str] = {}
        for function in boto3.client("lambda").list_functions()["Functions"]:
            for name, value in function.get("Environment", {}).get("Variables", {}).items():
                if union.setdefault(name, str(value)) != str(value):
                    raise ValueError(f"{name}: differs between functions")
        return union

    def _publish_status(self, detail: dict[str, Any]) -> None:
        boto3.client("events").put_events(
            Entries=[
                {
                    "Source": "aws.states",
                    "DetailType": "Step Functions Execution Status Change",
                    "Detail": json.dumps(detail),
                }
            ]
        )

    def _redirect_logs(self) -> None:
        if self._log_path is not None:
            stream = self._open.enter_context(self._log_path.open("a", buffering=1))
            self._open.callback(_log_to, sys.stderr)
            _log_to(stream)


def _log_to(stream: TextIO) -> None:
    """Let the functions log there; never to standard output, which is the command's answer alone.

    A handler that overran its time may log before and after the stack is up.
    """
    for handler in runtime.logger.handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(stream)


def _empty_archive() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("empty", "")
    return content.getvalue()
