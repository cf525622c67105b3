"""What moto's Step Functions lacks for the shipped template.

State machines made by CloudFormation land in the backend that executes them, with their
substitutions filled in; a status change is an event on the default bus (Step Functions developer
guide, "Automating Step Functions event delivery with EventBridge"); a client is made once and not
for every task; and waits can be scaled in tests.
"""

import contextlib
import json
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import moto.stepfunctions.models as machine_models
import moto.stepfunctions.parser.asl.component.common.retry.retrier_decl as retries
import moto.stepfunctions.parser.asl.component.state.wait.wait_function.wait_function as waits
import moto.stepfunctions.parser.asl.utils.boto_client as task_clients
from moto.core.responses import EmptyResult
from moto.stepfunctions.parser.backend.execution import BaseExecutionWorkerCommunication
from moto.stepfunctions.responses import StepFunctionResponse, get_backend

from teleprefetch.local.asides import aside


@contextlib.contextmanager
def execution(*, on_status: Callable[[dict[str, Any]], None], time_scale: float) -> Iterator[None]:
    """Let moto execute the machines of the template while the block runs.

    Args:
        on_status: is given the detail of each `Step Functions Execution Status Change`.
        time_scale: what the seconds of Retry and Wait are multiplied by; 1 outside tests.
    """
    with contextlib.ExitStack() as patches:
        patches.enter_context(
            patch.object(
                machine_models.StateMachine,
                "create_from_cloudformation_json",
                classmethod(_create_machine),
            )
        )
        patches.enter_context(
            patch.object(
                BaseExecutionWorkerCommunication, "terminated", _terminated_with(on_status)
            )
        )
        patches.enter_context(
            patch.object(StepFunctionResponse, "send_task_failure", _send_task_failure)
        )
        patches.enter_context(patch.object(retries, "time", _ScaledTime(time_scale)))
        patches.enter_context(
            patch.object(
                waits.WaitFunction,
                "_wait_interval",
                lambda _, env, wait_seconds: env.program_state_event.wait(
                    wait_seconds * time_scale
                ),
            )
        )
        patches.enter_context(_clients_made_once())
        yield


def _create_machine(
    _cls: type[Any],
    /,
    resource_name: str,
    cloudformation_json: dict[str, Any],
    account_id: str,
    region_name: str,
    **_: object,
) -> Any:
    properties = cloudformation_json["Properties"]
    definition = properties.get("DefinitionString") or json.dumps(properties["Definition"])
    for name, value in (properties.get("DefinitionSubstitutions") or {}).items():
        definition = definition.replace(f"${{{name}}}", str(value))
    if left := re.findall(r"\$\{[^}]+\}", definition):
        raise ValueError(f"{resource_name}: no DefinitionSubstitutions for {left}")
    return get_backend(account_id, region_name).create_state_machine(
        properties.get("StateMachineName", resource_name), definition, properties["RoleArn"], []
    )


def _send_task_failure(response: StepFunctionResponse) -> EmptyResult:
    """Unlike moto's own, hands on the cause, which a Catch is to see."""
    given = (response._get_param(name) for name in ("taskToken", "error", "cause"))
    response.stepfunction_backend.send_task_failure(*given)
    return EmptyResult()


def _terminated_with(on_status: Callable[[dict[str, Any]], None]) -> Callable[[Any], None]:
    reflect = BaseExecutionWorkerCommunication._reflect_execution_status

    def terminated(communication: Any) -> None:
        reflect(communication)  # type: ignore[no-untyped-call]
        ended = communication.execution
        detail = {
            "executionArn": ended.exec_arn,
            "stateMachineArn": ended.state_machine.arn,
            "name": ended.name,
            "status": ended.exec_status.value,
            "startDate": int(ended.start_date.timestamp() * 1000),
            "stopDate": int(ended.stop_date.timestamp() * 1000),
            "input": json.dumps(ended.input_data),
            "inputDetails": {"included": True},
            "output": json.dumps(ended.output) if ended.exec_status == "SUCCEEDED" else None,
            "error": ended.error,
            "cause": ended.cause,
        }
        aside(on_status, detail)

    return terminated


class _ScaledTime:
    """The module `time`, but for `sleep`."""

    def __init__(self, scale: float) -> None:
        self._scale = scale

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds * self._scale)


@contextlib.contextmanager
def _clients_made_once() -> Iterator[None]:
    make = task_clients.boto_client_for
    clients: dict[tuple[str, str], Any] = {}
    lock = threading.Lock()

    def made_once(region: str, service: str, state_credentials: object = None) -> Any:
        with lock:
            if (region, service) not in clients:
                clients[region, service] = make(region, service, state_credentials)
            return clients[region, service]

    users = [
        module
        for module in list(sys.modules.values())
        if getattr(module, "boto_client_for", None) is make
    ]
    for module in users:
        module.boto_client_for = made_once  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for module in users:
            module.boto_client_for = make  # type: ignore[attr-defined]
