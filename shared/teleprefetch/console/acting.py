"""The page `Act`: warm, purge, drain and reconcile, each previewed, then confirmed with a reason.

The pattern is that of a replay: nothing is done before it was shown and a reason given, and what is
done is what was shown. Who and why is in the run records, found by `Find` as a command.
"""

from dataclasses import dataclass
from typing import Any, Final, get_args

from starlette.responses import Response

from teleprefetch.console.asking import Asked, to
from teleprefetch.console.jobs import Job
from teleprefetch.console.wanted_acts import Preview, Wanted, wanted_act
from teleprefetch.errors import InvalidPayloadError, StudyNotFoundError
from teleprefetch.model import Priority
from teleprefetch.operate.acts import Actor

_LONGEST_REASON: Final = 500
_FIELDS: Final = ("study", "location", "node", "origin", "priority", "hours")
_PREVIEW, _ACTED = "actpreview", "acted"


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a job is about; `reason` is empty in a preview."""

    act: str
    wanted: Wanted
    reason: str = ""


def ask(asked: Asked) -> Response:
    """The forms, filled with what the address names."""
    return _forms(asked, {name: asked.query(name) for name in _FIELDS})


def preview(asked: Asked) -> Response:
    """Begin to find out what an act would do."""
    console = asked.console
    try:
        wanted = wanted_act(console.site, asked.field)
    except InvalidPayloadError as error:
        return _forms(asked, {name: asked.field(name) for name in _FIELDS}, error=str(error))

    def work(job: Job) -> None:
        job.result = wanted.preview(console.site, now=console.now())

    about = About(act=asked.field("act"), wanted=wanted)
    return to(_begin(asked, _PREVIEW, about, work))


def show(asked: Asked) -> Response:
    """What would be done, with the form that confirms it; or what was done."""
    return _page(asked, _job(asked))


def confirm(asked: Asked) -> Response:
    """Do what a preview has shown."""
    previewed = _job(asked, kind=_PREVIEW)
    reason = asked.field("reason")
    if not 0 < len(reason) <= _LONGEST_REASON:
        error = f"reason: say why, in {_LONGEST_REASON} letters at most; it is recorded"
        return _page(asked, previewed, error=error, status=400)
    shown: Preview | None = previewed.result
    if shown is None or not shown.lines:
        return _page(asked, previewed, error="there is nothing that it shows", status=400)
    console, before = asked.console, previewed.about
    actor = Actor(by=asked.session.by, reason=reason)

    def work(job: Job) -> None:
        lines = before.wanted.carry_out(console.site, actor, shown, now=console.now())
        job.result = Preview(lines=lines)

    about = About(act=before.act, wanted=before.wanted, reason=reason)
    return to(_begin(asked, _ACTED, about, work))


def _begin(asked: Asked, kind: str, about: About, work: Any) -> str:
    """Begin a job under the form's own name, so that a form sent twice acts once; its address."""
    once = asked.field("once")
    if not once.isascii() or not 16 <= len(once) <= 40:
        raise InvalidPayloadError("once: missing")
    job_id = f"{kind}-{about.act}-{once}"
    job = asked.console.jobs.begin(job_id, kind, by=asked.session.by, about=about, work=work)
    return f"/act/{job.id}"


def _forms(asked: Asked, given: dict[str, str], *, error: str = "") -> Response:
    settings = asked.console.site.settings
    return asked.page(
        "act.html",
        status=400 if error else 200,
        given=given,
        error=error,
        nodes=tuple(settings.routing.nodes),
        drained=asked.console.site.nodes.drained(),
        locations=tuple(settings.routing.locations),
        origins=tuple(settings.origins),
        priorities=get_args(Priority),
        hours=settings.sweep_window_hours,
    )


def _page(asked: Asked, job: Job, *, error: str = "", status: int = 200) -> Response:
    return asked.page(
        "act_job.html", status=status, job=job, is_preview=job.kind == _PREVIEW, error=error
    )


def _job(asked: Asked, *, kind: str | None = None) -> Job:
    job_id = asked.request.path_params["job"]
    job = asked.console.jobs.of(job_id, kind or job_id.partition("-")[0])
    if job is None or not isinstance(job.about, About):
        raise StudyNotFoundError("act: not known any more; what was done is found by Find")
    return job
