"""One name from the event to the frame: the id of the event that all the rest came of.

It is EventBridge's own `id` ("EventBridge event structure"), carried in the values of the machines,
the plan, the orders and the records; an event that came without one is named by what it is about.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

_EVENT_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PLACES: Final = (("request", "event_id"), ("assignment", "event_id"), ("event", "id"))


def event_id_of(given: object) -> str | None:
    """The id of the event that a machine's state, or what a function is given, came of.

    Of an event about a machine's own failure it is that of the execution's input.
    """
    if not isinstance(given, Mapping):
        return None
    if given.get("source") == "aws.states":
        return event_id_of(_input_of(given))
    for place, name in _PLACES:
        found = _id_in(given.get(place), name)
        if found is not None:
            return found
    return _id_in(given, "id")


def _id_in(given: object, name: str) -> str | None:
    found = given.get(name) if isinstance(given, Mapping) else None
    return found if isinstance(found, str) and _EVENT_ID.fullmatch(found) else None


def _input_of(failure: Mapping[str, Any]) -> object:
    detail = failure.get("detail")
    try:
        return json.loads(str(detail.get("input") if isinstance(detail, Mapping) else ""))
    except ValueError:
        return None
