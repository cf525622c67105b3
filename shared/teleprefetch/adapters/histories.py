"""The machines' past executions, and letting one go on where it failed."""

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from teleprefetch.adapters.aws_errors import in_our_words
from teleprefetch.adapters.step_functions import StepFunctionsExecutions
from teleprefetch.errors import InvalidPayloadError
from teleprefetch.run_records import ExecutionStatus, Machine, PastExecution

if TYPE_CHECKING:
    from mypy_boto3_stepfunctions.client import SFNClient

_PAGE: Final = 1000  # the most that ListExecutions gives at once
_REFUSALS: Final = frozenset(
    {"ExecutionNotRedrivable", "ExecutionDoesNotExist", "ValidationException", "InvalidArn"}
)


class StepFunctionsHistories:
    """`ports.Histories` of the machines of one stack.

    Args:
        client: Step Functions.
        machines: their ARNs.
    """

    def __init__(self, client: "SFNClient", machines: dict[Machine, str]) -> None:
        self._client = client
        self._machines = machines

    def ended_since(
        self, machine: Machine, status: ExecutionStatus, since: datetime
    ) -> tuple[PastExecution, ...]:
        """A machine's executions of a status, newest first, until one that began before `since`.

        ListExecutions filters neither by time nor by the beginning of a name (Step Functions API
        reference, "ListExecutions"): pages are read until they are old enough.
        """
        pages = self._client.get_paginator("list_executions").paginate(
            stateMachineArn=self._machines[machine],
            statusFilter=status,
            PaginationConfig={"PageSize": _PAGE},
        )
        found: list[PastExecution] = []
        with in_our_words("state machine"):
            for page in pages:
                for one in page["executions"]:
                    if one["startDate"] < since:
                        return tuple(found)
                    found.append(_past(machine, dict(one)))
        return tuple(found)

    def execution(self, machine: Machine, name: str) -> PastExecution | None:
        """An execution by its name; the ARN of one is made of its machine's and its name."""
        arn = f"{self._machines[machine].replace(':stateMachine:', ':execution:')}:{name}"
        with in_our_words("execution"):
            try:
                answer = self._client.describe_execution(executionArn=arn)
            except self._client.exceptions.ExecutionDoesNotExist:
                return None
        return _past(machine, dict(answer))

    def input_of(self, execution: PastExecution) -> dict[str, Any]:
        """What an execution was started with.

        Raises:
            InvalidPayloadError: it is no JSON object.
        """
        with in_our_words("execution"):
            answer = self._client.describe_execution(executionArn=execution.arn)
        try:
            state = json.loads(answer.get("input", ""))
        except ValueError:
            raise InvalidPayloadError("execution.input: not JSON") from None
        if not isinstance(state, dict):
            raise InvalidPayloadError("execution.input: not an object")
        return state

    def events_of(self, execution: PastExecution) -> int:
        """How many events its history holds: the id of the newest, since ids count from 1."""
        with in_our_words("execution"):
            answer = self._client.get_execution_history(
                executionArn=execution.arn, maxResults=1, reverseOrder=True
            )
        return max((event["id"] for event in answer["events"]), default=0)

    def redrive(self, execution: PastExecution, *, client_token: str) -> None:
        """Let an execution go on where it failed; the same token within 15 minutes, once."""
        with in_our_words("execution"):
            try:
                self._client.redrive_execution(executionArn=execution.arn, clientToken=client_token)
            except ClientError as error:
                code = str(error.response.get("Error", {}).get("Code", ""))
                if code not in _REFUSALS:
                    raise
                raise InvalidPayloadError(f"redrive: {code}") from error

    def start(self, machine: Machine, name: str, state: dict[str, Any]) -> bool:
        """Start an execution; False if there was one of that name."""
        executions = StepFunctionsExecutions(self._client, self._machines[machine])
        return executions.start(name, state)


def _past(machine: Machine, told: dict[str, Any]) -> PastExecution:
    return PastExecution(
        machine=machine,
        name=told["name"],
        arn=told["executionArn"],
        status=told["status"],
        started_at=told["startDate"],
        stopped_at=told.get("stopDate"),
        redrive_status=str(told.get("redriveStatus") or ""),
        redrive_status_reason=str(told.get("redriveStatusReason") or ""),
    )
