"""State `RecordImport`: the one outcome of an import event."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from teleprefetch.domain.causes import cause_of
from teleprefetch.domain.import_events import import_id_of
from teleprefetch.ports import Outcomes
from teleprefetch.prefetch import ImportResolution, Outcome, OutcomeState
from teleprefetch.steps.start_prefetch import Started


def run(state: Mapping[str, Any], *, outcomes: Outcomes, now: datetime) -> Outcome:
    """Record how an import event ended; duplicates of the event share its outcome.

    Args:
        state: the event, and either `resolution` and `started`, or the `error` that was caught.
    """
    if "error" in state:
        return outcomes.record(
            Outcome(
                subject=import_id_of(_event_of(state)),
                state="refused",
                recorded_at=now,
                cause=cause_of(state["error"]),
            )
        )
    resolution = ImportResolution.parse(state.get("resolution"), at="resolution")
    started = Started.parse(state.get("started"), at="started")
    return outcomes.record(
        Outcome(
            subject=resolution.import_id,
            state=_state_of(resolution),
            recorded_at=now,
            counts={
                "studies": resolution.studies,
                "historical": resolution.historical,
                "missing": resolution.missing,
                "files_failed": resolution.files_failed,
                "started": started.started,
                "already": started.already,
            },
        )
    )


def _state_of(resolution: ImportResolution) -> OutcomeState:
    if resolution.kind in {"import failed", "deleted"}:
        return resolution.kind
    if resolution.studies:
        return "prefetching"
    return "historical" if resolution.historical else "empty"


def _event_of(state: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in state.items() if key != "error"}
