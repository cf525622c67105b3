"""The page `Find`: the same criteria as `teleprefetch find`.

Accession number and PatientID are posted, looked up, and stand in no address: what is in the
address, and so in histories and logs, is their keyed digest.
"""

from datetime import datetime
from typing import Any, Final, get_args
from urllib.parse import urlencode

from starlette.responses import Response

from teleprefetch.console.asking import Asked, to
from teleprefetch.domain.times import time_of
from teleprefetch.errors import InvalidPayloadError
from teleprefetch.model import PatientKey
from teleprefetch.run_records import KINDS, RunFilter, RunOutcome, patient_words

PAGE: Final = 50
_PLAIN: Final = ("study", "reader", "location", "event", "kind", "outcome", "since", "until")
_KEYS: Final = ("accession_key", "patient_key")
_FIELD_OF: Final = {
    "study": "study_instance_uid",
    "location": "reading_location",
    "event": "event_id",
}
OUTCOMES: Final = tuple(
    name for part in get_args(RunOutcome) for name in (get_args(part) or (part,))
)


def show(asked: Asked) -> Response:
    """The form, and what agrees with it, newest first; a page at a time."""
    given = {name: asked.query(name) for name in (*_PLAIN, *_KEYS)}
    about: dict[str, Any] = {"given": given, "kinds": KINDS, "outcomes": OUTCOMES, "error": ""}
    try:
        wanted = _filter(asked, given)
    except InvalidPayloadError as error:
        about |= {"error": str(error), "runs": None, "older": None}
        return asked.page("find.html", status=400, **about)
    if wanted is None:
        return asked.page("find.html", runs=None, older=None, **about)
    runs = asked.console.site.runs.find(wanted, limit=PAGE + 1)
    older = _older(given, runs[PAGE - 1].at) if len(runs) > PAGE else None
    return asked.page("find.html", runs=runs[:PAGE], older=older, **about)


def look_up(asked: Asked) -> Response:
    """Turn accession number and PatientID into digests, and the form into an address."""
    told = {name: value for name in (*_PLAIN, *_KEYS) if (value := asked.field(name))}
    accession, patient = asked.field("accession"), asked.field("patient")
    if accession:
        keys = asked.console.site.lookup_keys
        told["accession_key"] = keys.key_of("accession", accession)
    if patient:
        whose = PatientKey(patient_id=patient, issuer_of_patient_id=asked.field("issuer"))
        keys = asked.console.site.lookup_keys
        told["patient_key"] = keys.key_of("patient", patient_words(whose))
    return to(f"/find?{urlencode(told or {'since': '24h'})}#found")


def _filter(asked: Asked, given: dict[str, str]) -> RunFilter | None:
    """What is looked for; None if nothing was asked yet.

    Raises:
        InvalidPayloadError: a field is not what it should be.
    """
    wanted: dict[str, Any] = {
        _FIELD_OF.get(name, name): value for name, value in given.items() if value
    }
    if not wanted:
        return None
    for name in ("since", "until"):
        if name in wanted:
            wanted[name] = time_of(wanted[name], now=asked.console.now(), option=name)
    return RunFilter.parse(wanted)


def _older(given: dict[str, str], at: datetime) -> str:
    """The address of what is older; what is of the same instant is shown again, none is lost."""
    kept = {name: value for name, value in given.items() if value}
    return "/find?" + urlencode(kept | {"until": at.isoformat()})
