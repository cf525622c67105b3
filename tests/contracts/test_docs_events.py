"""The page of events tells every event, and its examples are read by what reads the real ones."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from teleprefetch.assignment import LateWarm, Notice
from teleprefetch.domain.import_events import read_import_event
from teleprefetch.domain.order_messages import OrderDefaults, from_fhir, from_hl7
from teleprefetch.model import PurgeOrder, Value, WarmOrder, WarmReport
from teleprefetch.steps.admit_assignment import assigned_of
from teleprefetch.steps.release_assignment import LATE_WARM, NOTICE
from tests.pages.blocks import DOCS
from tests.pages.machines import template
from tests.pages.schemas import BY_NAME, MODELS, fields_table

PAGE = (DOCS / "events.md").read_text()
SITE = OrderDefaults(origin_id="store", reading_location="home", issuer="https://issuer")
EXAMPLES: list[tuple[str, str]] = re.findall(
    r"<!-- example: ([\w-]+) -->\n```\w+\n(.*?)```", PAGE, re.DOTALL
)


def _said(kind: type[Value], detail_type: str) -> Callable[[str], object]:
    def read(text: str) -> object:
        event = json.loads(text)
        assert (event["source"], event["detail-type"]) == ("teleprefetch", detail_type)
        return kind.parse(event["detail"])

    return read


READERS: Mapping[str, Callable[[str], object]] = {
    "healthimaging": lambda text: read_import_event(json.loads(text)),
    "study-assigned": lambda text: assigned_of(json.loads(text)),
    "hl7": lambda text: from_hl7(text, SITE),
    "fhir": lambda text: from_fhir(json.loads(text), SITE),
    "assignment-released": _said(Notice, NOTICE),
    "study-warm": _said(LateWarm, LATE_WARM),
    "WarmOrder": WarmOrder.parse_json,
    "PurgeOrder": PurgeOrder.parse_json,
    "WarmReport": WarmReport.parse_json,
}


@pytest.mark.parametrize(("kind", "text"), EXAMPLES, ids=[kind for kind, _ in EXAMPLES])
def test_each_example_is_read_by_what_reads_the_real_ones(kind: str, text: str) -> None:
    assert READERS[kind](text)


def test_every_event_and_message_has_an_example() -> None:
    assert {kind for kind, _ in EXAMPLES} == READERS.keys()


def test_every_detail_type_of_the_template_and_of_the_program_is_told() -> None:
    named = {NOTICE, LATE_WARM, *_detail_types(template()["Resources"])}

    assert len(named) > 8
    assert [one for one in sorted(named) if f"`{one}`" not in PAGE] == []


def test_every_model_that_a_told_model_is_made_of_is_told_too() -> None:
    inner = {
        name for model in MODELS for name in model.model_json_schema(by_alias=True).get("$defs", {})
    }

    assert inner <= BY_NAME.keys()


@pytest.mark.parametrize("name", BY_NAME)
def test_every_field_of_a_model_is_explained(name: str) -> None:
    written = fields_table(name)

    assert [one for one in BY_NAME[name].model_fields if f"`{one}`" not in written] == []


def _detail_types(node: Any) -> set[str]:
    if isinstance(node, list):
        return {one for each in node for one in _detail_types(each)}
    if not isinstance(node, dict):
        return set()
    here = {one for one in node.get("detail-type", ()) if isinstance(one, str)}
    return here.union(*(_detail_types(value) for value in node.values()))
