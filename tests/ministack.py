"""AWS by an emulator that is not ours: the shipped template on ministack.

Its functions run in processes of their own, by the runtime client that AWS's images hold
(awslambdaric), in this interpreter; what it does not know - HealthImaging - is the stand-in.
"""

import contextlib
import io
import json
import os
import subprocess
import sys
import time
import uuid
import zipfile
from pathlib import Path
from typing import Any, Final, Self
from unittest.mock import patch

import boto3
import urllib3

from teleprefetch.local.aws import CREDENTIALS, REGION, TEMPLATE
from teleprefetch.local.node_process import free_port
from teleprefetch.local.template import expand

STACK: Final = "story"
_BUCKET: Final = "deploy"
_READY_WITHIN_S: Final = 30
_DEPLOYED_WITHIN_S: Final = 90


class Ministack:
    """The emulator as a process; entered, boto3 in this process speaks to it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open = contextlib.ExitStack()
        self.url = ""
        self.outputs: dict[str, str] = {}

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as opening:
            port = free_port()
            self.url = f"http://127.0.0.1:{port}"
            opening.enter_context(patch.dict(os.environ, self.environment))
            log = opening.enter_context((self._folder / "ministack.log").open("wb"))
            process = subprocess.Popen(
                [sys.executable, "-m", "ministack"],
                env=_without_endpoint(os.environ)
                | {
                    "GATEWAY_PORT": str(port),
                    "BIND_HOST": "127.0.0.1",
                    "IOT_MTLS_ENABLED": "0",
                    "SFTP_ENABLED": "0",
                    "TMPDIR": str(self._folder),
                },
                stdout=log,
                stderr=log,
                cwd=self._folder,
            )
            opening.callback(_end, process)
            self._wait(process)
            self._open = opening.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def environment(self) -> dict[str, str]:
        """What another process needs in its environment to reach the emulator."""
        return CREDENTIALS | {
            "AWS_DISABLE_HOST_PREFIX_INJECTION": "true",
            "AWS_ENDPOINT_URL": self.url,
        }

    def deploy(self, parameters: dict[str, str], *, function_environment: dict[str, str]) -> None:
        """Create the stack of the shipped template.

        The functions' runtime is the one difference from AWS: `provided`, whose bootstrap starts
        AWS's runtime client on this interpreter, where the layer's modules are installed.
        """
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket=_BUCKET)
        expanded = expand(TEMPLATE)
        bootstrap = _bootstrap(self.environment | function_environment)
        archive = _archive(TEMPLATE.parent / "functions", bootstrap)
        s3.put_object(Bucket=_BUCKET, Key="functions.zip", Body=archive)
        for resource in expanded.cloudformation["Resources"].values():
            properties = resource.get("Properties", {})
            if resource["Type"] == "AWS::Lambda::Function":
                properties["Runtime"] = "provided.al2023"
                properties["Code"] = {"S3Bucket": _BUCKET, "S3Key": "functions.zip"}
            elif resource["Type"] == "AWS::Lambda::LayerVersion":
                properties["Content"] = {"S3Bucket": _BUCKET, "S3Key": "functions.zip"}
        template = json.dumps(expanded.cloudformation)
        s3.put_object(Bucket=_BUCKET, Key="template.json", Body=template.encode())
        self._create_stack(parameters)

    def _create_stack(self, parameters: dict[str, str]) -> None:
        client = boto3.client("cloudformation")
        client.create_stack(
            StackName=STACK,
            TemplateURL=f"{self.url}/{_BUCKET}/template.json",
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"],
            Parameters=[
                {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
            ],
        )
        client.get_waiter("stack_create_complete").wait(
            StackName=STACK, WaiterConfig={"Delay": 1, "MaxAttempts": _DEPLOYED_WITHIN_S}
        )
        [stack] = client.describe_stacks(StackName=STACK)["Stacks"]
        self.outputs = {one["OutputKey"]: one["OutputValue"] for one in stack.get("Outputs", [])}

    def _wait(self, process: "subprocess.Popen[bytes]") -> None:
        ends = time.monotonic() + _READY_WITHIN_S
        while time.monotonic() < ends:
            if process.poll() is not None:
                break
            with contextlib.suppress(urllib3.exceptions.HTTPError):
                ready = f"{self.url}/_ministack/ready"
                if urllib3.request("GET", ready, timeout=1, retries=False).status == 200:
                    return
            time.sleep(0.05)
        raise RuntimeError((self._folder / "ministack.log").read_text(errors="replace")[-600:])


class ServiceEvents:
    """Delivers events of AWS's own services, which `put_events` refuses to anybody else.

    By the deployed rules: their patterns are matched by the emulator, and their targets started.
    """

    def put_events(self, *, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        """What EventBridge does with an event once a service has emitted it."""
        for entry in Entries:
            self._deliver(
                {
                    "version": "0",
                    "id": str(uuid.uuid4()),
                    "detail-type": entry["DetailType"],
                    "source": entry["Source"],
                    "account": "000000000000",
                    "time": entry["Time"].strftime("%Y-%m-%dT%H:%M:%SZ"),
                    "region": REGION,
                    "resources": entry["Resources"],
                    "detail": json.loads(entry["Detail"]),
                }
            )
        return {"FailedEntryCount": 0, "Entries": [{} for _ in Entries]}

    @staticmethod
    def _deliver(event: dict[str, Any]) -> None:
        events, machines = boto3.client("events"), boto3.client("stepfunctions")
        text = json.dumps(event)
        for rule in events.list_rules()["Rules"]:
            pattern = rule.get("EventPattern")
            if pattern and events.test_event_pattern(EventPattern=pattern, Event=text)["Result"]:
                for target in events.list_targets_by_rule(Rule=rule["Name"])["Targets"]:
                    machines.start_execution(stateMachineArn=target["Arn"], input=text)


def _bootstrap(environment: dict[str, str]) -> str:
    exports = "".join(f"export {name}='{value}'\n" for name, value in environment.items())
    return (
        f'#!/bin/sh\n{exports}export PYTHONPATH="$LAMBDA_TASK_ROOT"\n'
        f'exec {sys.executable} -m awslambdaric "$_HANDLER"\n'
    )


def _archive(folder: Path, bootstrap: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for file in sorted(folder.glob("*.py")):
            archive.write(file, file.name)
        executable = zipfile.ZipInfo("bootstrap")
        executable.external_attr = 0o100755 << 16
        archive.writestr(executable, bootstrap)
    return content.getvalue()


def _without_endpoint(environment: Any) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name != "AWS_ENDPOINT_URL"}


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
