"""The page of one study: the same as `teleprefetch why`."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from urllib.parse import quote

from starlette.responses import Response

from teleprefetch.console.asking import Asked, to
from teleprefetch.dicom import is_uid
from teleprefetch.errors import StudyNotFoundError
from teleprefetch.operate.replay import WARM
from teleprefetch.operate.timeline import Moment, Story, story_of, studies_named
from teleprefetch.run_records import Run

_EVENTS: Final = frozenset({"import", "assigned", "command", "replay"})


class Stage(NamedTuple):
    """One of what a study goes through; `lacking` is what to say while it is not reached."""

    name: str
    at: datetime | None
    lacking: str


def find(asked: Asked) -> Response:
    """Go to the study that a UID, a run, an assignment or an event is about."""
    what = asked.query("what")
    if is_uid(what):
        return to(f"/studies/{what}")
    studies = studies_named(asked.console.site, what) if what else ()
    if len(studies) > 1:
        return to(f"/find?event={quote(what)}#found")
    if not studies:
        raise StudyNotFoundError("no study, run, assignment or event is known by that name")
    return to(f"/studies/{studies[0]}")


def show(asked: Asked) -> Response:
    """What happened to a study, and why; 404 if nothing is recorded of it."""
    uid = asked.request.path_params["uid"]
    if not is_uid(uid):
        raise StudyNotFoundError("study: not a DICOM UID")
    console = asked.console
    stories = [
        story_of(console.site, uid, audit=audit, now=console.now())
        for audit in console.audits_for(asked.session.by, asked="console: why") or (None,)
    ]
    story = stories[0]
    moments = _every_moment(stories)
    newest = next((one.run_id for one in reversed(moments) if one.what == "prefetch"), None)
    prefetch = console.site.runs.run(newest) if newest else None
    return asked.page(
        "study.html",
        status=200 if moments else 404,
        story=story,
        moments=_with_steps(moments),
        stages=_stages(moments, prefetch, has_audit=bool(console.audits)),
        newest=newest,
        location=prefetch.reading_location if prefetch is not None else None,
    )


def _every_moment(stories: list[Story]) -> list[Moment]:
    """The moments of all stories; they differ in who opened it at which node."""
    first, *others = stories
    opened = [one for story in others for one in story.moments if one.what == "opened"]
    return sorted([*first.moments, *opened], key=lambda one: one.at)


def _with_steps(moments: list[Moment]) -> list[tuple[Moment, timedelta | None]]:
    """Each moment, and how long after the one before it came."""
    before: list[datetime | None] = [None, *(moment.at for moment in moments)]
    return [
        (moment, None if earlier is None else moment.at - earlier)
        for moment, earlier in zip(moments, before, strict=False)
    ]


def _stages(moments: list[Moment], prefetch: Run | None, *, has_audit: bool) -> tuple[Stage, ...]:
    """Each stage of the newest prefetch, when it was reached, and what to say where it was not."""
    outcome = prefetch.outcome if prefetch is not None else "not yet"
    is_warm = prefetch is not None and outcome in WARM
    return (
        Stage("event", _first(moments, _EVENTS), "not recorded"),
        Stage("plan", prefetch.at if prefetch is not None else None, "not yet"),
        Stage("warm", prefetch.ended_at if is_warm and prefetch is not None else None, outcome),
        Stage("notice", _first(moments, {"notice"}), "none yet"),
        Stage(
            "opened",
            _first(moments, {"opened"}),
            "not yet" if has_audit else "not known: no --audit is given",
        ),
    )


def _first(moments: list[Moment], kinds: Collection[str]) -> datetime | None:
    return next((one.at for one in moments if one.what in kinds), None)
