"""Each Retry and Catch of the machines, with the names that Step Functions would see."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from teleprefetch import runtime
from tests.builders import a_job_event

ROOT = Path(__file__).resolve().parents[2]


def retried_by(machine: str, state: str) -> list[str]:
    definition = json.loads((ROOT / "statemachine" / f"{machine}.asl.json").read_text())
    return [name for retry in definition["States"][state]["Retry"] for name in retry["ErrorEquals"]]


def error_named(name: str) -> Exception:
    """An error whose class has that name, dots and all: Step Functions sees nothing else."""
    error: type[Exception] = type(name, (Exception,), {})
    return error("said by the test")


def failing_first(pipeline: Any, state: str, names: list[str]) -> list[str]:
    """Let a state's function end with each error once, before it does its work; what is left."""
    left = list(names)
    [function] = [name for name in pipeline.aws.lambdas.names if f"-{state}Function-" in name]

    def handler(event: dict[str, Any], context: Any) -> Any:
        if left:
            raise error_named(left.pop(0))
        return shipped(event, context)

    shipped: Callable[..., Any] = pipeline.aws.lambdas.replace(function, handler)
    return left


def each_retrier_once(machine: str, state: str) -> list[str]:
    """One error of each retrier: each counts its own attempts, so one run takes them all."""
    definition = json.loads((ROOT / "statemachine" / f"{machine}.asl.json").read_text())
    return [retry["ErrorEquals"][0] for retry in definition["States"][state]["Retry"]]


@pytest.mark.parametrize(
    ("machine", "state"),
    [
        ("import", "ResolveImport"),
        ("import", "StartPrefetch"),
        ("import", "RecordImport"),
        ("prefetch", "FindPriors"),
        ("prefetch", "RankPriors"),
        ("prefetch", "PlanWarm"),
        ("prefetch", "RecordOutcome"),
    ],
)
def test_each_retrier_of_an_import_lets_it_go_on(pipeline: Any, machine: str, state: str) -> None:
    names = each_retrier_once(machine, state)
    left = failing_first(pipeline, state, names)
    pipeline.put_manifest()
    pipeline.send(a_job_event())

    pipeline.node.warm(pipeline.node.order())

    [execution] = pipeline.ended("Prefetch")
    assert execution["status"] == "SUCCEEDED"
    assert pipeline.ended("Import")[0]["status"] == "SUCCEEDED"
    assert left == []


@pytest.mark.parametrize("state", ["AdmitAssignment", "AwaitWarm", "ReleaseAssignment"])
def test_each_retrier_of_an_assignment_lets_it_go_on(pipeline: Any, state: str) -> None:
    left = failing_first(pipeline, state, each_retrier_once("assignment", state))
    pipeline.assign()

    pipeline.node.warm(pipeline.node.order())

    assert pipeline.notice().reason == "warm"
    assert pipeline.ended("Assignment")[0]["status"] == "SUCCEEDED"
    assert left == []


@pytest.mark.parametrize("name", sorted(set(retried_by("prefetch", "FindPriors"))))
def test_each_name_that_a_retry_lists_is_matched(pipeline: Any, name: str) -> None:
    left = failing_first(pipeline, "FindPriors", [name])
    pipeline.assign()

    pipeline.node.warm(pipeline.node.order())

    assert pipeline.notice().reason == "warm"
    assert left == []


def test_a_passing_failure_to_start_the_prefetch_shortens_the_wait_and_no_more(
    pipeline: Any,
) -> None:
    left = failing_first(pipeline, "AwaitWarm", ["OriginUnavailableError"])
    pipeline.assign()

    pipeline.node.warm(pipeline.node.order())

    assert pipeline.notice().reason == "warm"
    assert left == []


def test_a_node_that_falls_silent_is_ordered_again(impatient_pipeline: Any) -> None:
    impatient_pipeline.assign()
    first = impatient_pipeline.node.order()

    second = impatient_pipeline.node.order()
    impatient_pipeline.node.warm(second)

    assert len(impatient_pipeline.node.orders) == 2
    assert second.prefetch_id == first.prefetch_id
    assert impatient_pipeline.notice().reason == "warm"


def test_an_answer_to_a_task_that_ended_is_told_to_be_stale(pipeline: Any) -> None:
    pipeline.assign()
    order = pipeline.node.order()
    pipeline.node.warm(order)
    pipeline.ended("Prefetch")

    assert not runtime.tasks().heartbeat(order.task_token)
    assert not runtime.tasks().succeed(order.task_token, {})
