"""Step Functions: starting executions by name, and answering tasks by token."""

import json
from typing import TYPE_CHECKING, Any

from teleprefetch.adapters.aws_errors import in_our_words

if TYPE_CHECKING:
    from mypy_boto3_stepfunctions.client import SFNClient


class StepFunctionsExecutions:
    """`ports.Executions` of one state machine."""

    def __init__(self, client: "SFNClient", state_machine_arn: str) -> None:
        self._client = client
        self._state_machine_arn = state_machine_arn

    def start(self, name: str, state: dict[str, Any]) -> bool:
        """Start an execution of that name; False if there was one, or one with another input.

        While an execution of the same name and input runs, a start answers as the first did;
        once it ended, or with another input, ExecutionAlreadyExists is raised, for 90 days
        (Step Functions API reference, "StartExecution").
        """
        with in_our_words("state machine"):
            try:
                self._client.start_execution(
                    stateMachineArn=self._state_machine_arn, name=name, input=json.dumps(state)
                )
            except self._client.exceptions.ExecutionAlreadyExists:
                return False
        return True


class StepFunctionsTasks:
    """`ports.Tasks` by task token."""

    def __init__(self, client: "SFNClient") -> None:
        self._client = client

    def succeed(self, task_token: str, output: dict[str, Any]) -> bool:
        """Answer a task with its output."""
        with in_our_words("task token"):
            try:
                self._client.send_task_success(taskToken=task_token, output=json.dumps(output))
            except self._stale:
                return False
        return True

    def fail(self, task_token: str, *, error: str, cause: str) -> bool:
        """Fail a task; the name of the error is what `Retry` and `Catch` see."""
        with in_our_words("task token"):
            try:
                self._client.send_task_failure(
                    taskToken=task_token, error=error[:256], cause=cause[:32768]
                )
            except self._stale:
                return False
        return True

    def heartbeat(self, task_token: str) -> bool:
        """Say that work on a task goes on."""
        with in_our_words("task token"):
            try:
                self._client.send_task_heartbeat(taskToken=task_token)
            except self._stale:
                return False
        return True

    @property
    def _stale(self) -> tuple[type[Exception], ...]:
        known = self._client.exceptions
        return (known.TaskTimedOut, known.TaskDoesNotExist, known.InvalidToken)
