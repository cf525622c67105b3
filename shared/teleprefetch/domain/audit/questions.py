"""The questions that auditors ask of records."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from teleprefetch.domain.audit.entry import Entry
from teleprefetch.domain.audit.record import SERVING

_ALIKE: Final = (
    "study", "series", "subject", "issuer", "token", "client", "source", "order", "assignment",
    "event_id", "request", "action", "origin", "image_set", "site",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Which entries are asked for: all that agree with every field that is not empty.

    `policy` is the name of a rule that decided; `since` and `until` are both included.
    """

    kind: str = ""
    study: str = ""
    series: str = ""
    subject: str = ""
    issuer: str = ""
    token: str = ""
    client: str = ""
    source: str = ""
    order: str = ""
    assignment: str = ""
    event_id: str = ""
    request: str = ""
    action: str = ""
    origin: str = ""
    image_set: str = ""
    site: str = ""
    policy: str = ""
    since: datetime | None = None
    until: datetime | None = None

    def asks_for(self, entry: Entry) -> bool:
        """True if the entry is an answer."""
        event = entry.event
        return (
            all(getattr(self, name) in {"", getattr(event, name)} for name in _ALIKE)
            and self.kind in {"", event.kind}
            and (not self.policy or self.policy in event.policies)
            and (self.since is None or self.since <= entry.at)
            and (self.until is None or entry.at <= self.until)
        )


def answers(question: Question, entries: Iterable[Entry]) -> Iterator[Entry]:
    """The entries that are asked for, in their order."""
    return filter(question.asks_for, entries)


def opened_studies(entries: Iterable[Entry]) -> frozenset[str]:
    """The StudyInstanceUIDs of which readers were sent frames."""
    return frozenset(
        entry.event.study for entry in entries if entry.event.kind in SERVING and entry.event.frames
    )


def never_viewed(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """What was warmed and never served afterwards: the last warming of each such series.

    A record without a series speaks of its whole study. This is the measure of 45 CFR 164.502(b),
    minimum necessary: what is here was copied to the edge for nobody.
    """
    waiting: dict[tuple[str, str], Entry] = {}
    for entry in entries:
        event = entry.event
        if event.kind == "warmed":
            waiting[event.study, event.series] = entry
        elif event.kind in SERVING and event.action != "search":
            for key in ((event.study, event.series), (event.study, "")):
                waiting.pop(key, None)
            if not event.series:
                for key in [key for key in waiting if key[0] == event.study]:
                    del waiting[key]
    return tuple(waiting.values())
