"""Makes audit records and lanes for tests; no file and no clock but those that are passed in."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from teleprefetch.domain.audit.chain import Lane
from teleprefetch.domain.audit.entry import GENESIS, Chain, Entry, read_line, stamp
from teleprefetch.domain.audit.record import AuditRecord

START = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
NODE, LANE = "node-a", "serve-0"
ISSUER = "https://idp.example"
STUDY, SERIES, INSTANCE = "1.2.840.1", "1.2.840.1.1", "1.2.840.1.1.1"


def a_record(**changes: Any) -> AuditRecord:
    fields: dict[str, Any] = {
        "kind": "served", "issuer": ISSUER, "subject": "reader-1", "site": "home",
        "token": "jti:abc-1", "client": "10.0.0.7", "request": "r-1", "action": "frames",
        "study": STUDY, "series": SERIES, "instance": INSTANCE, "frames": "1-3", "version": "2",
        "image_set": "a" * 32, "content": "b" * 64, "source": "hit", "status": 200,
        "size_bytes": 4096, "policies": ("assigned",), "policy_set": "0123456789abcdef",
        "origin": "store-1", "assignment": "A-1", "order": "assigned-1", "patient": "c" * 40,
    }  # fmt: skip
    return AuditRecord(**fields | changes)


def lines_of(
    records: Iterable[AuditRecord],
    *,
    node: str = NODE,
    lane: str = LANE,
    seq: int = 0,
    head: str = GENESIS,
    times: Iterator[datetime] | None = None,
) -> list[bytes]:
    """Lines without their newlines, a second apart."""
    chain = Chain(node=node, lane=lane, seq=seq, head=head)
    return [
        chain.link(
            record.canonical(),
            stamp(next(times) if times is not None else START + timedelta(seconds=n + seq)),
        )[:-1]
        for n, record in enumerate(records)
    ]


def some_lines(count: int, **options: Any) -> list[bytes]:
    return lines_of([a_record(request=f"r-{n}") for n in range(1, count + 1)], **options)


def an_entry(record: AuditRecord | None = None) -> Entry:
    return read_line(lines_of([record or a_record()])[0])


def read_back(lines: Iterable[bytes], *, wanted: Iterable[int] = (), whole: bool = True) -> Lane:
    """A lane fed with lines; `whole` False: the last one has no newline."""
    listed = list(lines)
    lane = Lane(NODE, LANE, frozenset(wanted))
    for number, line in enumerate(listed, start=1):
        lane.feed(line, f"{number}", is_whole=whole or number < len(listed))
    return lane
