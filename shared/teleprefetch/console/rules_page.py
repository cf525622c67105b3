"""The page `Rules`: what a rule file would have changed over past prefetches, before it is live.

The same as `teleprefetch what-if`: nothing is warmed and nothing is changed.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from starlette.datastructures import UploadFile
from starlette.responses import Response

from teleprefetch.console.asking import Asked, to
from teleprefetch.console.jobs import Job
from teleprefetch.domain.audit.questions import opened_studies
from teleprefetch.domain.counterfactual import Counterfactual, Past, replay_rules, rows_of
from teleprefetch.domain.rule_check import checked_rules
from teleprefetch.domain.rules import DEFAULT_RULES, SiteRules
from teleprefetch.domain.times import time_of
from teleprefetch.edge.audit import reading
from teleprefetch.errors import InvalidPayloadError, StudyNotFoundError

_MOST_BYTES: Final = 100_000
_SHOWN: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What is tried: the text of the rules, and over which prefetches."""

    text: str
    rules: SiteRules
    since: datetime


def ask(asked: Asked) -> Response:
    """The form, with the rules in force."""
    return _form(asked, asked.console.site.settings.site_rules, since="7d")


def preview(asked: Asked) -> Response:
    """Begin the run over past prefetches."""
    since = asked.field("since") or "7d"
    text = _text(asked)
    try:
        if len(text.encode()) > _MOST_BYTES:
            raise InvalidPayloadError(f"rules: more than {_MOST_BYTES // 1000} kB")
        trial = Trial(
            text=text,
            rules=checked_rules(text, at="rules"),
            since=time_of(since, now=asked.console.now(), option="since"),
        )
    except InvalidPayloadError as error:
        return _form(asked, text, since=since, error=str(error), status=400)
    once = asked.field("once")
    if not once.isascii() or not 16 <= len(once) <= 40:
        raise InvalidPayloadError("once: missing")
    job = asked.console.jobs.begin(
        f"rules-{once}",
        "rules",
        by=asked.session.by,
        about=trial,
        work=lambda job: _try(asked, job, trial),
    )
    return to(f"/rules/{job.id}")


def show(asked: Asked) -> Response:
    """How far it is, and what would have changed."""
    job = asked.console.jobs.of(asked.request.path_params["job"], "rules")
    if job is None:
        raise StudyNotFoundError("rules: not known any more; try them again")
    told: Counterfactual | None = job.result
    has_audit = bool(asked.console.audits)
    return asked.page(
        "rules_job.html",
        job=job,
        told=told,
        rows=rows_of(told, has_audit=has_audit) if told is not None else (),
        has_audit=has_audit,
        shown=_SHOWN,
    )


def _try(asked: Asked, job: Job, trial: Trial) -> None:
    site = asked.console.site
    in_force = site.settings.site_rules
    opened = opened_studies(
        entry
        for folder in asked.console.audits_for(job.by, asked="console: rules")
        for entry in reading.entries(folder)
    )

    def counted(one: Past) -> Past:
        job.check()
        job.done.append(one.prefetch_id)
        return one

    job.result = replay_rules(
        map(counted, asked.console.past.between((trial.since, None))),
        old=checked_rules(in_force, at="SITE_RULES") if in_force else DEFAULT_RULES,
        new=trial.rules,
        budget_bytes=site.settings.budget_bytes,
        opened=opened,
    )


def _form(asked: Asked, text: str, *, since: str, error: str = "", status: int = 200) -> Response:
    about: dict[str, Any] = {"text": text, "since": since, "error": error}
    about["is_shipped"] = not asked.console.site.settings.site_rules
    return asked.page("rules.html", status=status, **about)


def _text(asked: Asked) -> str:
    """The rules: of the file, if one is given, else of the field."""
    file = asked.form.get("file")
    if not isinstance(file, UploadFile) or not file.filename:
        text = asked.form.get("rules", "")
        return text.replace("\r\n", "\n") if isinstance(text, str) else ""
    content = file.file.read(_MOST_BYTES + 1)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidPayloadError("file: not a text in UTF-8") from None
