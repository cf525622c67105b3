"""Events and messages as tables of fields, out of the pydantic models that read and write them."""

import json
from collections.abc import Mapping
from typing import Any, Final

from teleprefetch.assignment import LateWarm, Notice, PriorWarmth, StudyAssigned
from teleprefetch.domain import order_messages
from teleprefetch.domain.import_events import ImportEvent, read_import_event
from teleprefetch.model import (
    Assigned,
    AssignedTo,
    ObjectPointer,
    PurgeOrder,
    StudyWarmth,
    Value,
    WarmOrder,
    WarmReport,
)
from tests.pages.blocks import code, table
from tests.pages.machines import import_detail_types
from tests.pages.meanings import EVERYWHERE, OF_ONE

MODELS: Final[tuple[type[Value], ...]] = (
    StudyAssigned, AssignedTo, ImportEvent, Notice, StudyWarmth, PriorWarmth, LateWarm,
    WarmOrder, PurgeOrder, Assigned, ObjectPointer, WarmReport,
)  # fmt: skip
BY_NAME: Final[Mapping[str, type[Value]]] = {model.__name__: model for model in MODELS}
Schema = dict[str, Any]
_ANY_JOB: Final = {
    "datastoreId": "0" * 32,
    "jobId": "1",
    "jobStatus": "COMPLETED",
    "outputS3Uri": "s3://o/",
}


def fields_table(name: str) -> str:
    """The fields of a model: type and limits, whether it must be there, and what it means."""
    schema = BY_NAME[name].model_json_schema(by_alias=True)
    needed = set(schema.get("required", ()))
    rows = [
        (code(field), type_of(given, field), _needed(field, given, needed), meaning(name, field))
        for field, given in schema["properties"].items()
    ]
    return table(("field", "type", "must be there", "meaning"), rows)


def meaning(model: str, field: str) -> str:
    """What a field means.

    Raises:
        KeyError: nobody has said it.
    """
    told = OF_ONE.get(f"{model}.{field}") or EVERYWHERE.get(field)
    if not told:
        raise KeyError(f"tests/pages/meanings.py says nothing of {model}.{field}")
    return told


def type_of(given: Schema, field: str = "") -> str:
    """A JSON schema's type in a few words."""
    if "anyOf" in given:
        kinds = [type_of(one, field) for one in given["anyOf"] if one.get("type") != "null"]
        may_be_null = " or null" if len(kinds) < len(given["anyOf"]) else ""
        return " or ".join(kinds) + may_be_null
    if "$ref" in given:
        name = given["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "enum" in given or "const" in given:
        return ", ".join(code(json.dumps(one)) for one in given.get("enum", [given.get("const")]))
    if given["type"] == "array":
        item = "DICOM UID" if field == "required" else type_of(given["items"])
        return f"list of {item}"
    return _scalar(given, field)


def import_kinds() -> str:
    """The detail-types of HealthImaging that the rule admits, and what each is taken for."""
    rows = []
    for detail_type in import_detail_types():
        event = {"source": "aws.medical-imaging", "detail-type": detail_type, "detail": _ANY_JOB}
        rows.append((code(detail_type), read_import_event(event).kind))
    return table(("detail-type", "taken for"), rows)


def order_mapping() -> str:
    """Where each field of an assignment comes from in HL7 v2 and FHIR, as the module tells."""
    told = (order_messages.__doc__ or "").split("\n\n")[1]
    return "```text\n" + "\n".join(line[4:] for line in told.splitlines()) + "\n```\n"


def _scalar(given: Schema, field: str) -> str:
    if given.get("format") == "date-time":
        return "date and time with its zone (RFC 3339)"
    if field.endswith("_uid") and given["type"] == "string":
        return "DICOM UID"
    limits = [
        f"{words} {given[key]}"
        for key, words in (
            ("minimum", "at least"),
            ("maximum", "at most"),
            ("exclusiveMinimum", "above"),
            ("maxLength", "at most characters:"),
        )
        if key in given
    ]
    pattern = [code(given["pattern"])] if "pattern" in given else []
    return ", ".join([given["type"], *pattern, *limits])


def _needed(field: str, given: Schema, needed: set[str]) -> str:
    if field in needed:
        return "yes"
    default = given.get("default")
    return "no" if default in (None, "", [], {}) else f"no; {code(json.dumps(default))}"
