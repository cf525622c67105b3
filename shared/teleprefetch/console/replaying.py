"""The page `Replay`: preview, confirmation with a reason, result.

The preview is the commands' own dry run. What is confirmed is the list that was shown: nothing that
failed meanwhile is replayed with it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, get_args

from starlette.responses import Response

from teleprefetch.console.asking import Asked, Console, to
from teleprefetch.console.finding import OUTCOMES
from teleprefetch.console.jobs import Job
from teleprefetch.domain.times import time_of
from teleprefetch.errors import InvalidPayloadError, PrefetchError, StudyNotFoundError
from teleprefetch.operate.replay import Replayed, replay
from teleprefetch.operate.replay_rules import Mode
from teleprefetch.operate.replay_subjects import Order
from teleprefetch.run_records import ExecutionStatus

_STATUSES: Final = get_args(ExecutionStatus)
_MODES: Final = get_args(Mode)
_FAILED: Final = ("FAILED", "TIMED_OUT", "ABORTED")
_RATE_PER_S: Final = 5.0  # as the command has it
_LONGEST_REASON: Final = 500
_ACTS: Final = frozenset({"redrive", "new"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a job was asked: the order, in words too, and the preview that it confirms."""

    order: Order
    words: str
    preview: Job | None = None


def ask(asked: Asked) -> Response:
    """The form."""
    given = {"what": asked.query("what"), "since": asked.query("since") or "24h"}
    return _form(asked, given | {"mode": "auto", "statuses": _FAILED, "outcomes": ()})


def preview(asked: Asked) -> Response:
    """Begin the dry run that the form asks for."""
    statuses, outcomes = asked.form.getlist("status"), asked.form.getlist("outcome")
    given = {"what": asked.field("what"), "since": asked.field("since") or "24h"}
    given |= {"mode": asked.field("mode") or "auto"}
    named = tuple(given["what"].replace(",", " ").split())
    try:
        order = Order(
            named=named,
            since=time_of(given["since"], now=asked.console.now(), option="since"),
            statuses=_choices(statuses, _STATUSES, "status"),
            outcomes=_choices(outcomes, OUTCOMES, "outcome"),
            mode=_choices([given["mode"]], _MODES, "mode")[0],
            by=asked.session.by,
            reason="",
            is_dry=True,
            rate_per_s=_RATE_PER_S,
        )
        if not (named or order.statuses or order.outcomes):
            raise InvalidPayloadError("what: name something, or choose how it ended")
    except InvalidPayloadError as error:
        chosen = {"statuses": statuses, "outcomes": outcomes}
        return _form(asked, given | chosen, error=str(error), status=400)
    return to(_begin(asked, "preview", Wanted(order=order, words=_words(order))))


def show(asked: Asked) -> Response:
    """How far a preview or a replay is, and what came of it; a preview then asks for a reason."""
    return _page(asked, _job(asked))


def confirm(asked: Asked) -> Response:
    """Begin the replay of what a preview has shown."""
    previewed = _job(asked, kind="preview")
    reason = asked.field("reason")
    if not 0 < len(reason) <= _LONGEST_REASON:
        error = f"reason: say why, in {_LONGEST_REASON} letters at most; it is recorded"
        return _page(asked, previewed, error=error, status=400)
    if previewed.ended_at is None or previewed.error:
        return _page(asked, previewed, error="the preview has not ended well", status=400)
    before: Order = previewed.about.order
    names = tuple(one.subject for one in previewed.done if one.action in _ACTS)
    order = Order(
        named=names, since=before.since, statuses=(), outcomes=(), mode=before.mode,
        by=asked.session.by, reason=reason, is_dry=False, rate_per_s=before.rate_per_s,
    )  # fmt: skip
    wanted = Wanted(order=order, words=previewed.about.words, preview=previewed)
    return to(_begin(asked, "replay", wanted))


def _begin(asked: Asked, kind: str, wanted: Wanted) -> str:
    """Begin a job under the form's own name, so that a form sent twice begins one; its address."""
    once = asked.field("once")
    if not once.isascii() or not 16 <= len(once) <= 40:
        raise InvalidPayloadError("once: missing")
    console = asked.console

    def work(job: Job) -> None:
        found = _each(console, wanted.order) if wanted.preview else _all(console, wanted.order)
        for one in found:
            job.done.append(one)
            job.check()

    job = console.jobs.begin(f"{kind}-{once}", kind, by=asked.session.by, about=wanted, work=work)
    return f"/replay/{job.id}"


def _all(console: Console, order: Order) -> Iterator[Replayed]:
    return replay(console.site, order, now=console.now, sleep=console.sleep)


def _each(console: Console, order: Order) -> Iterator[Replayed]:
    """Replay each by its name; what cannot be is told in its place, and the others go on."""
    for name in order.named:
        one = Order(
            named=(name,), since=order.since, statuses=(), outcomes=(), mode=order.mode,
            by=order.by, reason=order.reason, is_dry=False, rate_per_s=order.rate_per_s,
        )  # fmt: skip
        try:
            yield from _all(console, one)
        except PrefetchError as error:
            yield Replayed(
                subject=name,
                study_instance_uid=None,
                status="",
                action="refuse",
                why=f"{type(error).__name__}: {error}",
            )


def _form(asked: Asked, given: dict[str, Any], *, error: str = "", status: int = 200) -> Response:
    return asked.page(
        "replay.html",
        status=status,
        given=given,
        statuses=_STATUSES,
        outcomes=("failed", "cold", "partial", "warm"),
        modes=_MODES,
        error=error,
    )


def _page(asked: Asked, job: Job, *, error: str = "", status: int = 200) -> Response:
    counts: dict[str, int] = {}
    done: list[Replayed] = list(job.done)
    for one in done:
        counts[one.action] = counts.get(one.action, 0) + 1
    return asked.page(
        "replay_job.html",
        status=status,
        job=job,
        done=done,
        counts=counts,
        acts=sum(counts.get(action, 0) for action in _ACTS),
        expected=len(job.about.order.named) if job.kind == "replay" else None,
        error=error,
    )


def _job(asked: Asked, *, kind: str | None = None) -> Job:
    job_id = asked.request.path_params["job"]
    job = asked.console.jobs.of(job_id, kind or job_id.partition("-")[0])
    if job is None or not isinstance(job.about, Wanted):
        raise StudyNotFoundError("replay: not known any more; what was replayed is found by Find")
    return job


def _words(order: Order) -> str:
    since = f"began since {order.since:%Y-%m-%d %H:%M:%SZ}"
    if order.named:
        return f"{', '.join(order.named)}; mode {order.mode}"
    ended = ", ".join((*order.statuses, *order.outcomes))
    return f"what ended {ended} and {since}; mode {order.mode}"


def _choices(chosen: Any, allowed: tuple[Any, ...], name: str) -> tuple[Any, ...]:
    if not set(chosen) <= set(allowed):
        raise InvalidPayloadError(f"{name}: one or more of {', '.join(allowed)}")
    return tuple(chosen)
