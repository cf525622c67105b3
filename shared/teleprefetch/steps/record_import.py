"""State `RecordImport`: the one outcome of an import event."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from teleprefetch.domain.causes import cause_of
from teleprefetch.domain.correlation import event_id_of
from teleprefetch.domain.import_events import import_id_of
from teleprefetch.ports import Outcomes, Runs
from teleprefetch.prefetch import ImportResolution, Outcome, OutcomeState
from teleprefetch.run_records import Run
from teleprefetch.steps.start_prefetch import Started


def run(state: Mapping[str, Any], *, outcomes: Outcomes, runs: Runs, now: datetime) -> Outcome:
    """Record how an import event ended; duplicates of the event share its outcome.

    Args:
        state: the event, and either `resolution` and `started`, or the `error` that was caught.
        outcomes: where it is recorded once.
        runs: where it is found.
        now: the time of the record.
    """
    outcome = outcomes.record(_outcome_of(state, now=now))
    runs.record(import_run(outcome, state))
    return outcome


def import_run(outcome: Outcome, event: Mapping[str, Any]) -> Run:
    """The run of an import, from its outcome and what can be read of its event."""
    detail = event.get("detail")
    datastore_id = detail.get("datastoreId") if isinstance(detail, Mapping) else None
    known = {"origin_id": datastore_id} if _is_origin_id(datastore_id) else {}
    return Run(
        run_id=outcome.subject,
        kind="import",
        at=outcome.recorded_at,
        outcome=outcome.state,
        ended_at=outcome.recorded_at,
        cause=outcome.cause,
        counts=outcome.counts,
        event_id=event_id_of(event) or outcome.subject,
        **known,
    )


def _is_origin_id(text: object) -> bool:
    return isinstance(text, str) and re.fullmatch(r"[A-Za-z0-9_-]{1,64}", text) is not None


def _outcome_of(state: Mapping[str, Any], *, now: datetime) -> Outcome:
    if "error" in state:
        return Outcome(
            subject=import_id_of(_event_of(state)),
            state="refused",
            recorded_at=now,
            cause=cause_of(state["error"]),
        )
    resolution = ImportResolution.parse(state.get("resolution"), at="resolution")
    started = Started.parse(state.get("started"), at="started")
    return Outcome(
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


def _state_of(resolution: ImportResolution) -> OutcomeState:
    if resolution.kind in {"import failed", "deleted"}:
        return resolution.kind
    if resolution.studies:
        return "prefetching"
    return "historical" if resolution.historical else "empty"


def _event_of(state: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in state.items() if key != "error"}
