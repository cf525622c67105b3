"""One name from the event to the frame, found wherever a function or a step is given it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleprefetch.domain.correlation import event_id_of
from teleprefetch.model import Plan, WarmOrder
from teleprefetch.prefetch import PrefetchRequest
from teleprefetch.run_records import Run
from tests.builders import NOW

ID = "6a7e8feb-b491-4cf7-a9f1-bf3703467718"
REQUEST = {"request": {"prefetch_id": "p", "event_id": ID}}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda one: st.lists(one, max_size=3) | st.dictionaries(st.text(max_size=8), one, max_size=3),
)


def a_failure(state: Any) -> dict[str, Any]:
    return {"id": "of-the-failure", "source": "aws.states", "detail": {"input": json.dumps(state)}}


@pytest.mark.parametrize(
    "given_",
    [
        {"id": ID, "source": "aws.medical-imaging", "detail": {}},
        {"id": ID, "resolution": {}, "started": {}},
        {"event": {"id": ID}, "execution_id": "arn"},
        {"id": "another", "assignment": {"event_id": ID}},
        {"assignment": {"event_id": ID}, "task_token": "t"},
        REQUEST | {"nodes": []},
        a_failure(REQUEST),
        a_failure({"id": ID, "source": "worklist", "detail": {}}),
    ],
)
def test_it_is_found_in_whatever_a_function_is_given(given_: dict[str, Any]) -> None:
    assert event_id_of(given_) == ID


@pytest.mark.parametrize(
    "given_",
    [
        None,
        [],
        {},
        {"id": None},
        {"id": 7},
        {"id": "Doe^Jane"},
        {"id": "a" * 65},
        {"request": {"event_id": "1 2"}},
        a_failure({"input": "nothing"}),
        {"source": "aws.states", "id": "of-the-failure", "detail": {"input": "{"}},
        {"source": "aws.states", "id": "of-the-failure", "detail": None},
    ],
)
def test_what_is_none_is_not_made_up(given_: object) -> None:
    assert event_id_of(given_) is None


@given(JSON)
def test_whatever_is_given_it_is_an_id_or_none(document: Any) -> None:
    assert event_id_of(document) is None or event_id_of({"id": event_id_of(document)}) is not None
    assert event_id_of(a_failure(document)) in {None, event_id_of(document)}


def test_values_of_before_that_have_no_such_field_are_read_still() -> None:
    order = {
        "kind": "warm", "prefetch_id": "p", "node": "n", "plan": {"bucket": "b", "key": "k"},
        "priority": "high", "give_up_at": NOW.isoformat(), "task_token": "t",
    }  # fmt: skip
    plan = {
        "prefetch_id": "p", "origin_id": "o", "study_instance_uid": "1.2", "series": [],
        "priors": [], "budget_bytes": 1,
    }  # fmt: skip
    request = {
        "prefetch_id": "p", "origin_id": "o", "study_instance_uid": "1.2",
        "reading_locations": ["home"], "cause": "import",
    }  # fmt: skip
    run = {"run_id": "p", "kind": "prefetch", "at": NOW.isoformat(), "outcome": "warm"}
    assert WarmOrder.parse(order).event_id is None
    assert Plan.parse(plan).event_id is None
    assert PrefetchRequest.parse(request).event_id is None
    assert Run.parse(run).event_id is None
