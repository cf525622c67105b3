"""What a process asked of AWS through botocore, by its own event hooks, and what policies call it.

`python -m tests.recorded_calls ...` is `teleprefetch ...` that writes each call down, in the file
that the variable `RECORDED_CALLS` names; without arguments it reads them, a JSON list a line.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import botocore

from tests.template_policies import ACCOUNT, REGION, STACK

DATASTORE: Final = f"arn:aws:medical-imaging:{REGION}:{ACCOUNT}:datastore/<DatastoreId>"
TASK: Final = "task:"
"""Before a task's token, which does not tell the machine that waits with it."""
VARIABLE: Final = "RECORDED_CALLS"
EVERY_CALL: Final = "provide-client-params.*.*"
"""The hook that is told of each call before it is made."""
_PREFIXES: Final = {"SFN": "states", "EventBridge": "events", "Medical Imaging": "medical-imaging"}
# S3 API reference, "HeadBucket", "ListObjectsV2", "HeadObject": the permissions of each
_NAMED_OTHERWISE: Final = {
    "s3:HeadBucket": "s3:ListBucket",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:HeadObject": "s3:GetObject",
}
_NAMED_BY: Final = {
    "lambda": ("FunctionName", "function:"),
    "kms": ("KeyId", "key/"),
    "sqs": ("QueueUrl", ""),
}
# STS API reference, "GetCallerIdentity": no permissions are required
_FREE: Final = frozenset({"sts:GetCallerIdentity"})
# Service Authorization Reference, "AWS Lambda": no resource type
WITHOUT_RESOURCE: Final = frozenset({"lambda:GetAccountSettings"})
KEY_USES: Final[Mapping[str, tuple[str, ...]]] = {
    "dynamodb:": ("kms:Decrypt",),
    "s3:GetObject": ("kms:Decrypt",),
    "s3:PutObject": ("kms:GenerateDataKey",),
    "sqs:ReceiveMessage": ("kms:Decrypt",),
    "sqs:SendMessage": ("kms:GenerateDataKey", "kms:Decrypt"),
}
"""What services ask of the key of what is encrypted, for who calls them (S3 user guide, "Using
server-side encryption with AWS KMS"; SQS developer guide, "Key management"; DynamoDB developer
guide, "How DynamoDB encryption at rest uses AWS KMS")."""


def record(path: Path) -> None:
    """Write down, from now on, every call of every session that is made in this process."""
    file = path.open("a", buffering=1)

    def note(params: dict[str, Any], model: Any, **_: Any) -> None:
        line = {"service": model.service_model.service_id, "operation": model.name, "given": params}
        file.write(json.dumps(line, default=repr) + "\n")

    def listen(session: Any) -> None:
        session.get_component("event_emitter").register_first(EVERY_CALL, note)

    botocore.register_initializer(listen)


def calls_of(path: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Each call: service, operation and what was given."""
    for line in path.read_text().splitlines():
        one = json.loads(line)
        yield one["service"], one["operation"], one["given"]


class Names:
    """What a stack's things are called in the template, by what they are called there.

    Args:
        physical: the stack's resources by logical id.
        key: the logical id of the key that they are encrypted with.
        unencrypted: buckets with a key of AWS's own.
    """

    def __init__(
        self, physical: Mapping[str, str], *, key: str, unencrypted: frozenset[str] = frozenset()
    ) -> None:
        self._logical = {_last(name): logical for logical, name in physical.items()}
        self._key = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{key}"
        self._unencrypted = unencrypted

    def actions(
        self, service: str, operation: str, given: Mapping[str, Any]
    ) -> Iterator[tuple[str, str]]:
        """Each action that a call needs, with its resource's ARN in full."""
        called = f"{_PREFIXES.get(service, service.lower())}:{operation}"
        action = _NAMED_OTHERWISE.get(called, called)
        if action in _FREE:
            return
        for resource in self._resources(action, given):
            yield action, resource
        is_data = action in KEY_USES or (
            action.startswith("dynamodb:") and not operation.startswith("Describe")
        )
        if is_data and given.get("Bucket") not in self._unencrypted:
            for use in KEY_USES.get(action) or KEY_USES["dynamodb:"]:
                yield use, self._key

    def _resources(self, action: str, given: Mapping[str, Any]) -> Iterator[str]:
        if action in WITHOUT_RESOURCE:
            yield "*"
        elif action.startswith("medical-imaging:"):
            yield DATASTORE
            if "imageSetId" in given:  # both are needed (Service Authorization Reference)
                yield f"{DATASTORE}/imageset/{given['imageSetId']}"
        else:
            yield self._resource(action, given)

    def _resource(self, action: str, given: Mapping[str, Any]) -> str:
        service = action.partition(":")[0]
        regional = f"arn:aws:{service}:{REGION}:{ACCOUNT}:"
        if service == "cloudformation":
            return f"{regional}stack/{given['StackName']}/1"
        if service == "dynamodb":
            index = f"/index/{given['IndexName']}" if "IndexName" in given else ""
            return f"{regional}table/{self._named(given['TableName'])}{index}"
        if service == "s3":
            key = f"/{given['Key']}" if "Key" in given else ""
            return f"arn:aws:s3:::{self._named(given['Bucket'])}{key}"
        if service == "states":
            named = given.get("executionArn") or given.get("stateMachineArn")
            return str(named or f"{TASK}{given['taskToken']}")
        if service == "events":
            if "Entries" in given:
                [bus] = {one["EventBusName"] for one in given["Entries"]}
                return f"{regional}event-bus/{bus}"
            return f"{regional}rule/{self._named(given.get('Name') or given['Rule'])}"
        key, kind = _NAMED_BY[service]
        return f"{regional}{kind}{self._named(given[key])}"

    def _named(self, physical: str) -> str:
        return self._logical[_last(physical)]


def _last(name: str) -> str:
    """The name in an ARN or address: what is behind its last slash or colon."""
    return name.rpartition("/")[2].rpartition(":")[2]


assert STACK == "local"  # what a local stack is called


def _run_each() -> None:
    """Run the commands that come in, one a line, and answer each with its code and its output."""
    from typer.testing import CliRunner

    from teleprefetch.cli import app

    for line in sys.stdin:
        done = CliRunner().invoke(app, json.loads(line))
        print(json.dumps({"code": done.exit_code, "out": done.stdout, "err": done.stderr}))
        sys.stdout.flush()


if __name__ == "__main__":
    record(Path(os.environ[VARIABLE]))
    if len(sys.argv) == 1:
        _run_each()
    else:
        from teleprefetch.cli import main

        main()
