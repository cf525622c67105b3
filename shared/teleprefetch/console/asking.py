"""What a page is given: the console, and who asks for what."""

import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from teleprefetch.adapters.past_prefetches import PastOnS3
from teleprefetch.audit_access import record_reading
from teleprefetch.console.jobs import Jobs
from teleprefetch.console.rendering import html
from teleprefetch.console.sessions import Session, Sessions
from teleprefetch.domain.warming_cost import Prices
from teleprefetch.operate.site import Site


@dataclass(frozen=True, slots=True, kw_only=True)
class Console:
    """What pages work with.

    `past` is what past prefetches found. `audits` are the nodes' audit folders, or copies of them:
    of a copy it is not recorded who reads it. `sleep` holds replays to their rate, `prices` are
    what the archive's calls and storage cost.
    """

    site: Site
    sessions: Sessions
    jobs: Jobs
    past: PastOnS3
    audits: tuple[Path, ...]
    are_copies: bool
    now: Callable[[], datetime]
    sleep: Callable[[float], None]
    prices: Prices = field(default_factory=Prices)
    reading: threading.Lock = field(default_factory=threading.Lock)

    def audits_for(self, who: str, *, asked: str) -> tuple[Path, ...]:
        """The audits' folders, once each of them says that somebody reads it.

        Raises:
            InvalidPayloadError: a folder holds no audit.
            NodeUnavailableError: it cannot be written; then it is not read either.
        """
        with self.reading:  # the lane of readers has one writer at a time
            for folder in () if self.are_copies else self.audits:
                record_reading(folder, who, asked=asked)
        return self.audits


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request of an operator; `form` is empty unless it was posted."""

    console: Console
    request: Request
    session: Session
    form: FormData

    def field(self, name: str) -> str:
        """A field of the form, as text; "" if it is not there."""
        value = self.form.get(name, "")
        return value.strip() if isinstance(value, str) else ""

    def query(self, name: str) -> str:
        """A parameter of the address; "" if it is not there."""
        return self.request.query_params.get(name, "").strip()

    @property
    def queries(self) -> Mapping[str, str]:
        """The parameters of the address."""
        return self.request.query_params

    def page(self, name: str, *, status: int = 200, **about: object) -> Response:
        """A page of the console."""
        known = {
            "session": self.session,
            "csrf": self.console.sessions.token_of(self.session),
            "once": secrets.token_urlsafe(16),
            "path": self.request.url.path,
            "now": self.console.now(),
        }
        return HTMLResponse(html(name, **known, **about), status)


Handler = Callable[[Asked], Response]


def to(path: str) -> Response:
    """Sends a browser on by GET, whatever it came by (RFC 9110 15.4.4)."""
    return RedirectResponse(path, 303)
