"""Which runs a replay is about: those named, or those that ended badly."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from teleprefetch.dicom import is_uid
from teleprefetch.domain.import_events import import_id_of
from teleprefetch.errors import StudyNotFoundError
from teleprefetch.operate.replay_rules import Mode
from teleprefetch.operate.site import Site
from teleprefetch.run_records import (
    ExecutionStatus,
    Machine,
    PastExecution,
    Run,
    RunFilter,
    RunOutcome,
    notice_run_id,
)

REPEAT: Final = re.compile(r"-r\d+$", re.ASCII)
_MACHINES: Final[tuple[Machine, ...]] = ("import", "prefetch")
_MOST: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be replayed, by whom and why; `named` are runs, studies or executions."""

    named: tuple[str, ...]
    since: datetime
    statuses: tuple[ExecutionStatus, ...]
    outcomes: tuple[RunOutcome, ...]
    mode: Mode
    by: str
    reason: str
    is_dry: bool
    rate_per_s: float


@dataclass(frozen=True, slots=True)
class Subject:
    """A run that may be replayed; `name` is its execution's, or the run's where that is unknown."""

    machine: Machine
    name: str
    run_id: str
    run: Run | None
    execution: PastExecution | None


def subjects(site: Site, order: Order) -> Iterator[Subject]:
    """The runs that an order names, or that ended as it says; each case once.

    Raises:
        StudyNotFoundError: a name is known nowhere.
    """
    found = _named(site, order) if order.named else _failed(site, order)
    seen: set[str] = set()
    for subject in found:
        # a replay of a run and the run itself are one case; the newest is met first
        base = REPEAT.sub("", subject.name)
        if base not in seen:
            seen.add(base)
            yield subject


def _failed(site: Site, order: Order) -> Iterator[Subject]:
    for machine in _MACHINES:
        for status in order.statuses:
            for execution in site.histories.ended_since(machine, status, order.since):
                yield _of_execution(site, execution)
    for outcome in order.outcomes:
        wanted = RunFilter(kind="prefetch", outcome=outcome, since=order.since)
        for run in site.runs.find(wanted, limit=_MOST):
            yield _of_run(site, run)


def _named(site: Site, order: Order) -> Iterator[Subject]:
    for name in order.named:
        runs: Sequence[Run]
        if is_uid(name):
            runs = site.runs.find(RunFilter(study_instance_uid=name, kind="prefetch"), limit=_MOST)
            runs = runs[:1]
        else:
            run = site.runs.run(name) or site.runs.run(notice_run_id(name))
            runs = () if run is None else (run,)
        if runs:
            yield _of_run(site, _prefetch_of(site, runs[0]))
            continue
        executions = (site.histories.execution(machine, name) for machine in _MACHINES)
        known = [execution for execution in executions if execution is not None]
        if not known:
            raise StudyNotFoundError(
                "WHAT: neither a run, a study, an assignment nor an execution is known by that name"
            )
        yield _of_execution(site, known[0])


def _prefetch_of(site: Site, run: Run) -> Run:
    """The run that is replayed for one that is only about it: the prefetch of a notice or order."""
    if run.kind in {"import", "prefetch"}:
        return run
    prefetch = site.runs.run(run.of) if run.of is not None else None
    if prefetch is None:
        raise StudyNotFoundError("WHAT: no prefetch is recorded for it; `warm` starts one")
    return _prefetch_of(site, prefetch) if run.kind != "notice" else prefetch


def _of_run(site: Site, run: Run) -> Subject:
    machine: Machine = "import" if run.kind == "import" else "prefetch"
    name = run.execution_arn.rsplit(":", 1)[-1] if run.execution_arn else run.run_id
    return Subject(machine, name, run.run_id, run, site.histories.execution(machine, name))


def _of_execution(site: Site, execution: PastExecution) -> Subject:
    # a list does not tell whether it can be redriven
    told = site.histories.execution(execution.machine, execution.name) or execution
    run_id = execution.name
    if execution.machine == "import":
        run_id = import_id_of(site.histories.input_of(told))
    return Subject(execution.machine, execution.name, run_id, site.runs.run(run_id), told)
