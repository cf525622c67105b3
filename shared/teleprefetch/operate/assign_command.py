"""The command `assign`: an HL7 or FHIR order becomes the worklist's event."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from teleprefetch.adapters.aws_errors import in_our_words
from teleprefetch.assignment import StudyAssigned
from teleprefetch.domain.order_messages import OrderDefaults, from_fhir, from_hl7
from teleprefetch.errors import InvalidPayloadError, OriginUnavailableError
from teleprefetch.operate.commands import AsJson, StackName, open_site
from teleprefetch.operate.present import answered, out, print_json
from teleprefetch.operate.site import client


def assign(
    order: Annotated[
        Path, typer.Argument(help="An HL7 v2 order, or a FHIR Task or ServiceRequest; - is stdin.")
    ],
    location: Annotated[str, typer.Option(help="Where it is read.")],
    stack: StackName = None,
    origin: Annotated[
        str | None, typer.Option(help="The archive's id in ORIGINS; needed if there are several.")
    ] = None,
    issuer: Annotated[
        str | None, typer.Option(help="Who issues the reader's tokens; else nobody may read it.")
    ] = None,
    source: Annotated[
        str, typer.Option(help="The event's source, as the stack's WorklistSource says.")
    ] = "worklist",
    as_json: AsJson = False,
) -> None:
    """Assign a study by the order that a radiology information system sends.

    What each field is made of: `teleprefetch.domain.order_messages`. Exit code 0: the event is on
    the bus. 1: AWS does not take it. 2: an option, or the order, is not what it should be.
    """

    def act() -> int:
        site = open_site(stack)
        known = tuple(site.settings.origins)
        if origin is None and len(known) > 1:
            raise InvalidPayloadError("--origin: missing, and ORIGINS names several")
        site.settings.routing.nodes_of(location)
        about = {"origin_id": origin or known[0], "reading_location": location, "issuer": issuer}
        assigned = read_order(_content(order), OrderDefaults.parse(about, at="options"))
        _put(assigned, source, site.settings.event_bus_name)
        if as_json:
            print_json(assigned.model_dump(mode="json"))
        else:
            out().print(f"{assigned.assignment_id}: assigned, {assigned.priority}", markup=False)
        return 0

    answered(act)


def read_order(content: str, defaults: OrderDefaults) -> StudyAssigned:
    """The assignment in an order, of whichever kind it is.

    Raises:
        InvalidPayloadError: it is neither HL7 v2 nor FHIR, or lacks what is needed.
    """
    if not content.lstrip().startswith("{"):
        return from_hl7(content, defaults)
    try:
        resource: Any = json.loads(content)
    except ValueError:
        raise InvalidPayloadError("ORDER: not JSON") from None
    return from_fhir(resource, defaults)


def _content(path: Path) -> str:
    try:
        return sys.stdin.read() if str(path) == "-" else path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidPayloadError("ORDER: cannot be read as text") from error


def _put(assigned: StudyAssigned, source: str, event_bus_name: str) -> None:
    entry = {
        "Source": source,
        "DetailType": "Study Assigned",
        "Detail": assigned.model_dump_json(exclude_none=True),
        "EventBusName": event_bus_name,
    }
    with in_our_words("event bus"):
        answer = client("events").put_events(Entries=[entry])
    if answer["FailedEntryCount"]:
        raise OriginUnavailableError("event bus: refused the event")
