"""What an audit record says: who, which token, what, which version, by which policy, from where."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, Literal, Self, get_args

import orjson

from teleprefetch.errors import InvalidPayloadError

Kind = Literal[
    "served", "break-glass", "refused",
    "warmed", "purged", "replayed",
    "policy-changed", "policy-refused", "audit-read",
    "started", "stopped", "recovered", "audit-full", "gap",
]  # fmt: skip
KINDS: Final[frozenset[str]] = frozenset(get_args(Kind))
SERVING: Final[frozenset[str]] = frozenset({"served", "break-glass"})
"""The kinds of which each response with clinical bytes has exactly one."""

Source = Literal["hit", "origin", ""]
_TOKEN: Final = re.compile(r"jti:[\x21-\x7e]{1,256}|sha256:[0-9a-f]{64}|", re.ASCII)
_MOST_TEXT: Final = 1024
_MOST_RANGES: Final = 8192  # a thousand frame numbers that are not neighbours


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """One thing that happened, before it has its place in a chain; empty fields are left out.

    There is no name of a patient or of a reader here and never a token: `subject` is the token's
    `sub`, `token` is `jti:…` or `sha256:…` (see `token_reference`), `patient` a digest.

    `frames` are numbers in ranges (`1-3,7`), `version` that of the image set, `content` a digest of
    what was sent, `policies` the rules that decided and `policy_set` the version of them all,
    `order` the prefetch that warmed it, `event_id` the event that all of it came of, `detail` what
    only one kind has.
    """

    kind: Kind
    issuer: str = ""
    subject: str = ""
    site: str = ""
    token: str = ""
    client: str = ""
    request: str = ""
    action: str = ""
    study: str = ""
    series: str = ""
    instance: str = ""
    frames: str = ""
    patient: str = ""
    origin: str = ""
    image_set: str = ""
    version: str = ""
    content: str = ""
    source: Source = ""
    status: int = 0
    size_bytes: int = 0
    policies: tuple[str, ...] = ()
    policy_set: str = ""
    order: str = ""
    assignment: str = ""
    event_id: str = ""
    reason: str = ""
    detail: Mapping[str, str | int] = field(default_factory=dict)

    def canonical(self) -> bytes:
        """The record as canonical JSON: RFC 8785 for text, whole numbers, lists and objects.

        Raises:
            InvalidPayloadError: a text is too long or not Unicode, or the token is more than a
                reference; the message names the field.
        """
        said = {name: value for name in _NAMES if (value := getattr(self, name))}
        for name, value in said.items():
            if type(value) is str and len(value) > _limit(name):
                raise InvalidPayloadError(f"audit.{name}: too long")
        if _TOKEN.fullmatch(self.token) is None:
            raise InvalidPayloadError("audit.token: neither jti nor sha256")
        return canonical_json(said)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """A record from what `canonical` wrote.

        Raises:
            InvalidPayloadError: a field is unknown or of another type, or the kind is.
        """
        values = dict(document)
        for name, value in values.items():
            if type(value) is not _TYPES.get(name):
                raise InvalidPayloadError("audit: a field is unknown or of another type")
        if values.get("kind") not in KINDS:
            raise InvalidPayloadError("audit.kind: unknown")
        if "policies" in values:
            values["policies"] = tuple(values["policies"])
        return cls(**values)


_NAMES: Final = tuple(each.name for each in fields(AuditRecord))
_TYPES: Final[dict[str, type]] = {
    **dict.fromkeys(_NAMES, str),
    "status": int,
    "size_bytes": int,
    "policies": list,
    "detail": dict,
}


def canonical_json(document: Mapping[str, Any]) -> bytes:
    """JSON in one form only: keys in order, no spaces, UTF-8 as it is.

    Raises:
        InvalidPayloadError: a text holds half a surrogate pair, or a number is beyond 64 bits.
    """
    try:
        return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError as error:
        raise InvalidPayloadError("audit: a field cannot be written as JSON") from error


def token_reference(*, token_id: str | None, token_sha256: str) -> str:
    """How the audit speaks of a token: by its `jti` if that is plain text, else by its digest."""
    named = f"jti:{token_id}" if token_id else ""
    return named if named and _TOKEN.fullmatch(named) else f"sha256:{token_sha256}"


def frame_ranges(numbers: Iterable[int]) -> str:
    """Frame numbers in order as ranges: 1, 2, 3, 7 is `1-3,7`."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def _limit(name: str) -> int:
    return _MOST_RANGES if name == "frames" else _MOST_TEXT
