"""local.lambdas: handlers in this process keep the contract that Retry and Catch rely on."""

import json
from pathlib import Path
from typing import Any

import pytest

from teleprefetch.local.lambdas import Context, Lambdas
from teleprefetch.local.template import Handler

SOURCE = """
import time

class CorruptPayloadError(Exception):
    pass

def lambda_handler(event, context):
    if event.get("fails"):
        raise CorruptPayloadError("field: wrong")
    if event.get("takes_s"):
        time.sleep(event["takes_s"])
    return {"name": context.function_name, "left": context.get_remaining_time_in_millis()}
"""


@pytest.fixture
def lambdas(tmp_path: Path) -> Lambdas:
    (tmp_path / "sample.py").write_text(SOURCE)
    lambdas = Lambdas()
    lambdas.load({"sample": Handler(tmp_path / "sample.py", "lambda_handler")})
    return lambdas


def invoke(
    lambdas: Lambdas, payload: dict[str, Any], *, timeout_s: float = 5
) -> tuple[dict[str, Any], dict[str, str]]:
    headers: dict[str, str] = {}
    context = Context("sample", "arn:aws:lambda:us-east-1:1:function:sample", timeout_s)
    return json.loads(lambdas.invoke(context, json.dumps(payload), headers)), headers


def test_an_answer_comes_back_as_json_and_the_context_tells_the_time_left(lambdas: Lambdas) -> None:
    answer, headers = invoke(lambdas, {})

    assert answer["name"] == "sample"
    assert 0 < answer["left"] <= 5000
    assert headers == {}


def test_an_error_is_told_by_its_class_name_as_the_runtime_does(lambdas: Lambdas) -> None:
    answer, headers = invoke(lambdas, {"fails": True})

    assert headers == {"x-amz-function-error": "Unhandled"}
    assert (answer["errorType"], answer["errorMessage"]) == ("CorruptPayloadError", "field: wrong")


def test_a_handler_that_overruns_its_time_ends_as_the_runtimes_time_out(lambdas: Lambdas) -> None:
    answer, headers = invoke(lambdas, {"takes_s": 1}, timeout_s=0.05)

    assert headers == {"x-amz-function-error": "Unhandled"}
    assert answer["errorType"] == "Sandbox.Timedout"
