"""Who is logged in at the console: a signed cookie that holds no token."""

import secrets
import threading
from collections.abc import Callable, Mapping
from typing import Final

from teleprefetch.console.seal import Seal
from teleprefetch.domain.policy.access import qualified
from teleprefetch.domain.tokens.claims import Identity
from teleprefetch.model import Value

_PURPOSE: Final = "session"
_LOGIN: Final = "login"
_LOGIN_S: Final = 600


class Session(Value):
    """An operator who logged in; `by` names them in records, one issuer's never as another's."""

    id: str
    issuer: str
    subject: str

    @property
    def by(self) -> str:
        """Who acts."""
        return qualified(self.issuer, self.subject)


class Attempt(Value):
    """A login that was begun in this browser: its state, and where it leads to."""

    state: str
    next: str


class Sessions:
    """Begins, recognises and ends sessions.

    Args:
        seal: signs the cookies.
        is_tls: whether browsers come by TLS, so that cookies may be tied to it.
        lasts_s: how long a session is at most; the issuer is asked again after it.
        clock: seconds since 1970.
    """

    def __init__(
        self, seal: Seal, *, is_tls: bool, lasts_s: int, clock: Callable[[], float]
    ) -> None:
        self._seal = seal
        self._clock = clock
        self._lasts_s = lasts_s
        self._ended: dict[str, float] = {}
        self._lock = threading.Lock()
        prefix = "__Host-" if is_tls else ""  # RFC 6265bis 4.1.3.2: bound to this host and to TLS
        self.cookie, self.attempt_cookie = f"{prefix}console", f"{prefix}console-login"
        self._attributes = "; HttpOnly; SameSite=Lax; Path=/" + ("; Secure" if is_tls else "")

    def begin(self, identity: Identity) -> str:
        """The cookie of a new session, as a header's value."""
        about = {"id": secrets.token_urlsafe(16), "issuer": identity.issuer}
        value = self._seal.closed(
            _PURPOSE,
            about | {"subject": identity.subject},
            ends_at_s=self._clock() + self._lasts_s,
        )
        return self._header(self.cookie, value, lasts_s=self._lasts_s)

    def of(self, cookies: Mapping[str, str]) -> Session | None:
        """The session that a browser's cookies speak of, if it goes on."""
        about = self._seal.opened(_PURPOSE, cookies.get(self.cookie, ""), now_s=self._clock())
        if about is None or about["id"] in self._ended:
            return None
        return Session.parse(about)

    def end(self, session: Session) -> str:
        """Forget a session, also where its cookie was copied; the header that takes the cookie."""
        now_s = self._clock()
        with self._lock:
            kept = {one: ends for one, ends in self._ended.items() if ends > now_s}
            self._ended = kept | {session.id: now_s + self._lasts_s}
        return self._header(self.cookie, "", lasts_s=0)

    def token_of(self, session: Session) -> str:
        """What a form of this session holds, which another site cannot know."""
        return self._seal.digest("form", session.id)

    def attempt(self, attempt: Attempt) -> str:
        """The cookie that ties a login to this browser."""
        value = self._seal.closed(_LOGIN, attempt.model_dump(), ends_at_s=self._clock() + _LOGIN_S)
        return self._header(self.attempt_cookie, value, lasts_s=_LOGIN_S)

    def attempt_of(self, cookies: Mapping[str, str]) -> Attempt | None:
        """The login that was begun in this browser."""
        told = self._seal.opened(_LOGIN, cookies.get(self.attempt_cookie, ""), now_s=self._clock())
        return None if told is None else Attempt.parse(told)

    def no_attempt(self) -> str:
        """The header that takes the cookie of a login."""
        return self._header(self.attempt_cookie, "", lasts_s=0)

    def verifier_of(self, attempt: Attempt) -> str:
        """The PKCE verifier of a login, which no browser ever sees (RFC 7636 4.1: 43 letters)."""
        return self._seal.digest("pkce", attempt.state)

    def _header(self, name: str, value: str, *, lasts_s: int) -> str:
        return f"{name}={value}; Max-Age={lasts_s}{self._attributes}"
