"""One suite for each port of the node and the machines: the adapter (on moto) and the fake."""

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import boto3
import pytest
from moto import mock_aws

from teleprefetch.adapters.sqs import SqsOrders
from teleprefetch.adapters.step_functions import StepFunctionsExecutions, StepFunctionsTasks
from teleprefetch.ports import Executions, Orders, Tasks
from tests.edge.fakes_for_node import FakeOrders
from tests.fakes import MemoryExecutions, MemoryTasks
from tests.waiting import until

WAITS = {
    "StartAt": "Wait",
    "States": {
        "Wait": {
            "Type": "Task",
            "Resource": "arn:aws:states:::sqs:sendMessage.waitForTaskToken",
            "Parameters": {"QueueUrl.$": "$.queue", "MessageBody.$": "$$.Task.Token"},
            "HeartbeatSeconds": 30,
            "TimeoutSeconds": 60,
            "End": True,
        }
    },
}


class Ports(NamedTuple):
    orders: Orders
    put: Callable[[str], object]
    executions: Executions
    tasks: Tasks
    token: Callable[[], str]


def in_memory() -> Ports:
    orders = FakeOrders()
    return Ports(orders, orders.put, MemoryExecutions(), MemoryTasks("token"), lambda: "token")


def on_aws() -> Ports:
    sqs, step_functions = boto3.client("sqs"), boto3.client("stepfunctions")
    url, tokens = (sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("orders", "tokens"))
    arn = step_functions.create_state_machine(
        name="waits", definition=json.dumps(WAITS), roleArn="arn:aws:iam::123456789012:role/any"
    )["stateMachineArn"]

    def token() -> str:
        step_functions.start_execution(
            stateMachineArn=arn, name="one", input=json.dumps({"queue": tokens})
        )
        messages = until(
            lambda: sqs.receive_message(QueueUrl=tokens).get("Messages"), "a waiting task"
        )
        return str(messages[0]["Body"]).strip('"')

    return Ports(
        SqsOrders(sqs, url, 30),
        lambda body: sqs.send_message(QueueUrl=url, MessageBody=body),
        StepFunctionsExecutions(step_functions, arn),
        StepFunctionsTasks(step_functions),
        token,
    )


@pytest.fixture(params=["memory", "aws"])
def ports(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ports]:
    if request.param == "memory":
        yield in_memory()
        return
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws(config={"stepfunctions": {"execute_state_machine": True}}):
        yield on_aws()


def bodies(ports: Ports) -> list[str]:
    return [order.body for order in ports.orders.receive(wait_s=0)]


def test_an_order_is_received_as_it_was_put_and_then_invisible(ports: Ports) -> None:
    ports.put('{"kind": "warm"}')

    assert bodies(ports) == ['{"kind": "warm"}']
    assert bodies(ports) == []


def test_an_order_whose_visibility_ends_comes_again(ports: Ports) -> None:
    ports.put("{}")
    [order] = ports.orders.receive(wait_s=0)

    ports.orders.extend(order.receipt, visibility_s=0)

    assert bodies(ports) == ["{}"]


def test_a_deleted_order_never_comes_again(ports: Ports) -> None:
    ports.put("{}")
    [order] = ports.orders.receive(wait_s=0)
    ports.orders.delete(order.receipt)

    assert bodies(ports) == []


def test_an_execution_of_the_same_name_and_input_is_the_same_execution(ports: Ports) -> None:
    state: dict[str, Any] = {"queue": "https://sqs.us-east-1.amazonaws.com/123456789012/tokens"}

    assert ports.executions.start("name", state)
    assert ports.executions.start("name", state)


def test_an_execution_of_the_same_name_and_another_input_is_not_started(ports: Ports) -> None:
    state: dict[str, Any] = {"queue": "https://sqs.us-east-1.amazonaws.com/123456789012/tokens"}
    ports.executions.start("name", state)

    assert not ports.executions.start("name", state | {"another": 1})


def test_a_waiting_task_takes_heartbeats_and_one_answer(ports: Ports) -> None:
    token = ports.token()

    until(lambda: ports.tasks.heartbeat(token), "the task to wait")
    assert ports.tasks.succeed(token, {"state": "warm"})
    until(lambda: not ports.tasks.heartbeat(token), "the task to end")


def test_a_waiting_task_can_be_failed(ports: Ports) -> None:
    token = ports.token()

    until(lambda: ports.tasks.heartbeat(token), "the task to wait")
    assert ports.tasks.fail(token, error="NodeUnavailableError", cause="store: full")
    until(lambda: not ports.tasks.heartbeat(token), "the task to end")


def test_a_token_that_nobody_gave_is_stale(ports: Ports) -> None:
    assert not ports.tasks.heartbeat("never given")
    assert not ports.tasks.succeed("never given", {})
