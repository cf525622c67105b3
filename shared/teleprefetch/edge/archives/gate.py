"""When warming may ask an archive: what the pool of fetches asks before each one."""

from typing import Protocol

from teleprefetch.domain.scheduling import Lane


class Gate(Protocol):
    """Says when warming may ask; called with the pool's lock held, so it never waits."""

    def wait_s(self, lane: Lane, /) -> float:
        """In how many seconds a fetch may begin; 0 if now, infinite if that is not known."""

    def begun(self, lane: Lane, /) -> None:
        """A fetch begins."""

    def throttled(self, lane: Lane, /) -> None:
        """The archive asked to slow down."""


class OpenGate:
    """Lets everything through."""

    def wait_s(self, _lane: Lane) -> float:
        """Now."""
        return 0.0

    def begun(self, _lane: Lane) -> None:
        """Not counted."""

    def throttled(self, _lane: Lane) -> None:
        """Not minded."""
