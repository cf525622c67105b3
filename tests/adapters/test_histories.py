"""Past executions against Step Functions' own contract: botocore checks what is sent and answered.

No emulator at hand redrives: the answers are those of the Step Functions API reference,
"RedriveExecution", "DescribeExecution" and "ListExecutions", and botocore's Stubber holds both
sides to its service model.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from teleprefetch.adapters.histories import StepFunctionsHistories
from teleprefetch.errors import InvalidPayloadError, OriginThrottledError
from teleprefetch.run_records import PastExecution

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
MACHINE = "arn:aws:states:us-east-1:123456789012:stateMachine:prod-prefetch"
EXECUTION = "arn:aws:states:us-east-1:123456789012:execution:prod-prefetch:study-1"


@pytest.fixture
def stubbed() -> Iterator[tuple[StepFunctionsHistories, Stubber]]:
    client = boto3.client(
        "stepfunctions", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    with Stubber(client) as stubber:
        yield StepFunctionsHistories(client, {"prefetch": MACHINE}), stubber
        stubber.assert_no_pending_responses()


def described(**changed: Any) -> dict[str, Any]:
    return {
        "executionArn": EXECUTION,
        "stateMachineArn": MACHINE,
        "name": "study-1",
        "status": "FAILED",
        "startDate": NOW - timedelta(hours=2),
        "stopDate": NOW - timedelta(hours=1),
        "input": '{"request": {}}',
        "redriveCount": 0,
        "redriveStatus": "REDRIVABLE",
    } | changed


def listed(name: str, **changed: Any) -> dict[str, Any]:
    about = described(name=name, executionArn=f"{EXECUTION[:-7]}{name}")
    kept = ("executionArn", "stateMachineArn", "name", "status", "startDate", "stopDate")
    return {key: about[key] for key in kept} | changed


def an_execution() -> PastExecution:
    return PastExecution(
        machine="prefetch", name="study-1", arn=EXECUTION, status="FAILED", started_at=NOW
    )


def test_an_execution_is_asked_for_by_the_arn_made_of_its_name(stubbed: Any) -> None:
    histories, stubber = stubbed
    stubber.add_response("describe_execution", described(), {"executionArn": EXECUTION})

    execution = histories.execution("prefetch", "study-1")

    assert execution.status == "FAILED"
    assert execution.redrive_status == "REDRIVABLE"
    assert execution.stopped_at == NOW - timedelta(hours=1)


def test_an_execution_that_is_not_there_is_none(stubbed: Any) -> None:
    histories, stubber = stubbed
    stubber.add_client_error("describe_execution", "ExecutionDoesNotExist", http_status_code=400)

    assert histories.execution("prefetch", "study-1") is None


def test_why_it_cannot_be_redriven_is_in_step_functions_own_words(stubbed: Any) -> None:
    histories, stubber = stubbed
    reason = "Execution is SUCCEEDED and cannot be redriven"
    answer = described(
        status="SUCCEEDED", redriveStatus="NOT_REDRIVABLE", redriveStatusReason=reason
    )
    stubber.add_response("describe_execution", answer, {"executionArn": EXECUTION})

    execution = histories.execution("prefetch", "study-1")

    assert (execution.redrive_status, execution.redrive_status_reason) == (
        "NOT_REDRIVABLE", reason,
    )  # fmt: skip


def test_a_redrive_sends_arn_and_token(stubbed: Any) -> None:
    histories, stubber = stubbed
    expected = {"executionArn": EXECUTION, "clientToken": "token"}
    stubber.add_response("redrive_execution", {"redriveDate": NOW}, expected)

    histories.redrive(an_execution(), client_token="token")


@pytest.mark.parametrize(
    "code", ["ExecutionNotRedrivable", "ExecutionDoesNotExist", "ValidationException", "InvalidArn"]
)
def test_a_refused_redrive_says_by_what_name(stubbed: Any, code: str) -> None:
    histories, stubber = stubbed
    stubber.add_client_error("redrive_execution", code, http_status_code=400)

    with pytest.raises(InvalidPayloadError, match=f"^redrive: {code}$"):
        histories.redrive(an_execution(), client_token="token")


def test_too_many_redrives_are_a_throttle(stubbed: Any) -> None:
    histories, stubber = stubbed
    stubber.add_client_error("redrive_execution", "ExecutionLimitExceeded", http_status_code=400)

    with pytest.raises(OriginThrottledError):
        histories.redrive(an_execution(), client_token="token")


def test_pages_are_read_until_one_is_too_old(stubbed: Any) -> None:
    histories, stubber = stubbed
    asked = {"stateMachineArn": MACHINE, "statusFilter": "FAILED", "maxResults": 1000}
    first = {"executions": [listed("study-1"), listed("study-2")], "nextToken": "more"}
    old = listed("study-3", startDate=NOW - timedelta(days=2))
    second = {"executions": [listed("study-4"), old, listed("study-5")], "nextToken": "more2"}
    stubber.add_response("list_executions", first, asked)
    stubber.add_response("list_executions", second, asked | {"nextToken": "more"})

    found = histories.ended_since("prefetch", "FAILED", NOW - timedelta(days=1))

    assert [one.name for one in found] == ["study-1", "study-2", "study-4"]


def test_the_length_of_a_history_is_the_id_of_its_newest_event(stubbed: Any) -> None:
    histories, stubber = stubbed
    asked = {"executionArn": EXECUTION, "maxResults": 1, "reverseOrder": True}
    event = {"timestamp": NOW, "type": "ExecutionFailed", "id": 24_998}
    stubber.add_response("get_execution_history", {"events": [event]}, asked)

    assert histories.events_of(an_execution()) == 24_998


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_an_input_that_is_no_object_is_refused(stubbed: Any, text: str) -> None:
    histories, stubber = stubbed
    stubber.add_response("describe_execution", described(input=text), {"executionArn": EXECUTION})

    with pytest.raises(InvalidPayloadError, match=r"^execution\.input: "):
        histories.input_of(an_execution())
