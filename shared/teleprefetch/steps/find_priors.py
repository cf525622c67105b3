"""State `FindPriors`: the study and every other study of its patient, by searches alone."""

from collections.abc import Mapping
from typing import Any

from teleprefetch.errors import InvalidPayloadError
from teleprefetch.model import ObjectPointer, Value
from teleprefetch.ports import Documents, Origin
from teleprefetch.prefetch import Candidates, PrefetchRequest


class Found(Value):
    """Where the candidates are written, and how many there are beside the current study."""

    candidates: ObjectPointer
    others: int


def request_of(state: Mapping[str, Any]) -> PrefetchRequest:
    """The request that the execution was started with."""
    return PrefetchRequest.parse(state.get("request"), at="request")


def run(state: Mapping[str, Any], *, origins: Mapping[str, Origin], documents: Documents) -> Found:
    """Find the candidates and write them down: names and dates have no place in a state.

    Raises:
        InvalidPayloadError: the request is malformed or names an unknown origin.
        StudyNotFoundError: the archive does not hold the study.
    """
    request = request_of(state)
    origin = origins.get(request.origin_id)
    if origin is None:
        raise InvalidPayloadError("request.origin_id: not in ORIGINS")
    current = origin.search_for_study(request.study_instance_uid)
    others = tuple(
        study
        for study in origin.search_for_patient(current.patient)
        if study.study_instance_uid != current.study_instance_uid
    )
    candidates = Candidates(current=current, others=others)
    pointer = documents.put(f"prefetch/{request.prefetch_id}/candidates.json", candidates)
    return Found(candidates=pointer, others=len(others))
