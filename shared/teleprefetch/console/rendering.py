"""Pages from templates; what others wrote is never markup."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

_HERE: Final = Path(__file__).parent
STATIC: Final = {
    "console.css": "text/css; charset=utf-8",
    "console.js": "text/javascript; charset=utf-8",
}
"""The files that pages load, and what they are."""

_MB: Final = 1_000_000


def static_file(name: str) -> bytes:
    """The content of one of STATIC."""
    return (_HERE / "static" / name).read_bytes()


def html(name: str, **about: object) -> str:
    """A page."""
    return _PAGES.get_template(name).render(**about)


def instant(at: datetime | None) -> Markup:
    """A time with its zone, as the commands print it."""
    if at is None:
        return Markup("")
    utc = at.astimezone(UTC)
    # each part stays in one piece where there is not room for both
    return Markup('<time datetime="{}"><span>{}</span> <span>{}</span></time>').format(
        utc.isoformat(timespec="seconds"), f"{utc:%Y-%m-%d}", f"{utc:%H:%M:%SZ}"
    )


def span(length: timedelta) -> str:
    """How long something is, in two units at most: 4.2 s, 2 min 5 s, 3 h 10 min."""
    seconds = abs(length.total_seconds())
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def megabytes(size_bytes: float) -> str:
    """Bytes as megabytes of 10^6."""
    return f"{size_bytes / _MB:,.1f}"


def percent(share: float | None) -> str:
    """A share as the commands print it."""
    return "-" if share is None else f"{share:.1%}"


def state(word: str) -> Markup:
    """An outcome, with a sign before it, so that colour is never all there is."""
    kind = _KINDS.get(word, "plain")
    return Markup('<span class="state {}"><span aria-hidden="true">{}</span> {}</span>').format(
        kind, _SIGNS[kind], escape(word)
    )


_SIGNS: Final = {"good": "✓", "bad": "✗", "soon": "…", "plain": "·"}
_KINDS: Final = {
    **dict.fromkeys(("warm", "none relevant", "released", "done", "ready"), "good"),
    **dict.fromkeys(("failed", "cold", "partial", "lost", "refused", "missing", "import failed",
                     "refuse", "not ready", "FAILED", "overdue"), "bad"),
    **dict.fromkeys(("warming", "ordered", "waiting", "redriven", "restarted", "redrive", "new",
                     "drained"), "soon"),
}  # fmt: skip


def _environment() -> Environment:
    pages = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters |= {
        "instant": instant, "span": span, "megabytes": megabytes, "percent": percent,
        "state": state,
    }  # fmt: skip
    pages.globals["versions"] = {
        name: hashlib.sha256(static_file(name)).hexdigest()[:12]
        for name in STATIC
        if (_HERE / "static" / name).is_file()
    }
    return pages


_PAGES: Final = _environment()
