"""A record in its place: one line of a log, and the hash that ties it to the line before.

A line is `{"hash":"…","record":{…}}`, and its hash is SHA-256 of the hash of the line before, in
hexadecimal, and of the bytes of `record`, which is canonical JSON: `at`, `event`, `lane`, `node`,
`prev` (again the hash before), `seq` and `v`. Anybody with a JSON parser and SHA-256 can check it.
"""

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeVar

import orjson

from teleprefetch.domain.audit.record import AuditRecord, canonical_json
from teleprefetch.errors import InvalidPayloadError

T = TypeVar("T")

GENESIS: Final = "0" * 64
"""What stands for the hash before the first record of a lane."""

_HEAD: Final = b'{"hash":"'
_MIDDLE: Final = b'","record":'
_BODY_AT: Final = len(_HEAD) + 64 + len(_MIDDLE)
_HEX: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_AT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)
_FIELDS: Final = {"at", "event", "lane", "node", "prev", "seq", "v"}


@dataclass(frozen=True, slots=True)
class Entry:
    """A record in a lane; `seq` counts from 1, `body` is what the hash covers."""

    node: str
    lane: str
    seq: int
    at: datetime
    prev: str
    hash: str
    event: AuditRecord
    body: bytes

    @property
    def is_intact(self) -> bool:
        """True if the hash is that of the record and of the hash before, as the record names it."""
        return hash_of(self.prev, self.body) == self.hash


def hash_of(prev: str, body: bytes) -> str:
    """The hash of a record: SHA-256 of the hash before, and of the record's canonical JSON."""
    return hashlib.sha256(prev.encode() + body).hexdigest()


class Chain:
    """Gives records their places in one lane, from `seq` and `head` on."""

    def __init__(self, *, node: str, lane: str, seq: int = 0, head: str = GENESIS) -> None:
        self.seq = seq
        self.head = head
        self._tail = f',"lane":{_text(lane)},"node":{_text(node)},"prev":"'.encode()

    def link(self, canonical: bytes, at: str) -> bytes:
        """The next line, with its newline; `canonical` is the event's JSON, `at` from `stamp`."""
        seq = self.seq + 1
        body = b'{"at":"%b","event":%b%b%b","seq":%d,"v":1}' % (
            at.encode(),
            canonical,
            self._tail,
            self.head.encode(),
            seq,
        )
        self.head = hash_of(self.head, body)
        self.seq = seq
        return b"%b%b%b%b}\n" % (_HEAD, self.head.encode(), _MIDDLE, body)


def stamp(at: datetime) -> str:
    """An instant as records have it: UTC, microseconds."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def read_line(line: bytes) -> Entry:
    """The entry in a line without its newline; whether its hash is right is not asked.

    Raises:
        InvalidPayloadError: it is no record in canonical form.
    """
    body = line[_BODY_AT:-1]
    digest = line[len(_HEAD) : len(_HEAD) + 64].decode("ascii", "replace")
    framed = line[:_BODY_AT] == _HEAD + digest.encode() + _MIDDLE and line[-1:] == b"}"
    if not framed or _HEX.fullmatch(digest) is None:
        raise InvalidPayloadError("audit: a line is no record")
    return _read_body(body, digest)


def _read_body(body: bytes, digest: str) -> Entry:
    try:
        record = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise InvalidPayloadError("audit: a record is not JSON") from None
    if not isinstance(record, dict) or canonical_json(record) != body:
        raise InvalidPayloadError("audit: a record is not in canonical form")
    if record.keys() != _FIELDS or record["v"] != 1:
        raise InvalidPayloadError("audit: a record has other fields, or another version")
    return Entry(
        node=_is(str, record["node"]),
        lane=_is(str, record["lane"]),
        seq=_is(int, record["seq"]),
        at=_instant(_is(str, record["at"])),
        prev=_is(str, record["prev"]),
        hash=digest,
        event=AuditRecord.read(_is(dict, record["event"])),
        body=body,
    )


def _is(kind: type[T], value: object) -> T:
    if type(value) is not kind:
        raise InvalidPayloadError("audit: a field of a record is of another type")
    return value


def _instant(text: str) -> datetime:
    if _AT.fullmatch(text) is None:
        raise InvalidPayloadError("audit.at: not an instant")
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise InvalidPayloadError("audit.at: not an instant") from None


def _text(name: str) -> str:
    return orjson.dumps(name).decode()
