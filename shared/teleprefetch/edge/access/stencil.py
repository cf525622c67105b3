"""Records of answers that are given again: composed of pieces that were encoded before.

A record's canonical JSON has its fields in order. Those that tell what was sent are the same for
every reader of a remembered answer, and the others are the same for every such answer about one
study to one reader.
"""

from collections.abc import Mapping
from dataclasses import fields
from itertools import groupby
from typing import Final

from teleprefetch.domain.audit.record import AuditRecord, canonical_json
from teleprefetch.edge.policy.gatekeeper import Asked, Grant
from teleprefetch.edge.policy.recording import Answer, record_of

Pieces = tuple[bytes, ...]
_WHAT: Final = frozenset(
    {
        "content", "frames", "image_set", "instance", "series",
        "size_bytes", "source", "status", "version",
    }
)  # fmt: skip
_RUNS: Final = tuple(
    (is_what, tuple(names))
    for is_what, names in groupby(
        sorted(each.name for each in fields(AuditRecord) if each.name != "detail"),
        key=_WHAT.__contains__,
    )
)
_ENDS_IN_REQUEST: Final = [names[-1] for is_what, names in _RUNS if not is_what].index("request")


def pieces_of_reader(asked: Asked, grant: Grant) -> Pieces:
    """The pieces that tell who asked, about which study, and why they may.

    Raises:
        InvalidPayloadError: a field is too long or no Unicode.
    """
    record = record_of(asked, grant, Answer(status=0))
    record.canonical()
    return _pieces(record, is_what=False)


def pieces_of_answer(answer: Answer) -> Pieces:
    """The pieces that tell what is sent."""
    named = {name: getattr(answer, name) for name in _WHAT}
    return _pieces(AuditRecord(kind="served", **named), is_what=True)


def composed(reader: Pieces, answer: Pieces, *, request_id: str = "") -> bytes:
    """The canonical JSON of the record; `request_id` is what the client calls the request."""
    if request_id:  # a plain name; it ends one of the pieces that tell of the reader
        at = _ENDS_IN_REQUEST
        begun = b'%b,"request":"%b"' % (reader[at], request_id.encode("ascii"))
        reader = (*reader[:at], begun, *reader[at + 1 :])
    return b"".join([piece for pair in zip(reader, answer, strict=True) for piece in pair])


def _pieces(record: AuditRecord, *, is_what: bool) -> Pieces:
    texts = [
        b"".join(_member({name: getattr(record, name)}) for name in names)
        for is_that, names in _RUNS
        if is_that == is_what
    ]
    if is_what:
        texts[-1] += b"}"  # a record ends with what was sent, and begins with the action
    else:
        texts[0] = b"{" + texts[0][1:]
    return tuple(texts)


def _member(named: Mapping[str, object]) -> bytes:
    (value,) = named.values()
    return b"," + canonical_json(named)[1:-1] if value else b""
