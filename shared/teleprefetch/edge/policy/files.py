"""Policies and their schema as files: read, checked, and errors named by file and line.

Cedar's parser tells neither file nor line, so each policy is checked by itself as well.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cedarpy

from teleprefetch.errors import InvalidPayloadError

SCHEMA: Final = "schema.cedarschema"
DEFAULT_FOLDER: Final = Path(__file__).parent
_PUNCTUATION: Final = "{}()[]"


@dataclass(frozen=True, slots=True)
class Statement:
    """One policy, or one declaration of a schema, and where it begins."""

    file: str
    line: int
    text: str

    @property
    def where(self) -> str:
        """File and line."""
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class PolicyFiles:
    """Policies that hold by their schema, parsed; `names` are the @id of each, in order.

    `version` is a digest of all the files.
    """

    policies: cedarpy.PolicySet
    schema: cedarpy.Schema
    names: tuple[str, ...]
    version: str


def read_policies(folder: Path = DEFAULT_FOLDER) -> PolicyFiles:
    """Read a folder's `*.cedar` files and its schema, or the default schema if it has none.

    Raises:
        InvalidPayloadError: a file cannot be read, or does not hold; the message names each fault
            by file and line.
    """
    schema_path = folder / SCHEMA
    if not schema_path.exists():
        schema_path = DEFAULT_FOLDER / SCHEMA
    paths = sorted(folder.glob("*.cedar"))
    if not paths:
        raise InvalidPayloadError(f"policies: no *.cedar file in {folder.name}")
    texts = {path.name: _read(path) for path in (schema_path, *paths)}
    schema = _schema(schema_path.name, texts[schema_path.name])
    statements = [one for path in paths for one in split(path.name, texts[path.name])]
    names, problems = _check(statements, schema)
    if problems:
        raise InvalidPayloadError("\n".join(problems[:20]))
    whole = "\n".join(texts[path.name] for path in paths)
    return PolicyFiles(
        policies=cedarpy.PolicySet.from_str(whole),
        schema=schema,
        names=names,
        version=hashlib.sha256("\0".join(texts.values()).encode()).hexdigest()[:16],
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidPayloadError(f"{path.name}: cannot be read as UTF-8 text") from error


def _schema(name: str, text: str) -> cedarpy.Schema:
    try:
        return cedarpy.Schema.from_str(text)
    except ValueError as error:
        line = next((one.line for one in split(name, text) if _is_malformed(one.text)), 1)
        raise InvalidPayloadError(f"{name}:{line}: {error}") from error


def _is_malformed(declaration: str) -> bool:
    """True if it is no declaration at all, whatever it refers to."""
    try:
        cedarpy.Schema.from_str(declaration)
    except ValueError as error:
        return "error parsing schema" in str(error)
    return False


def _check(
    statements: Sequence[Statement], schema: cedarpy.Schema
) -> tuple[tuple[str, ...], list[str]]:
    names: list[str] = []
    problems: list[str] = []
    for statement in statements:
        try:
            names.append(_name_of(statement, schema))
        except InvalidPayloadError as error:
            problems.append(f"{statement.where}: {error}")
    twice = [name for name, count in Counter(names).items() if count > 1]
    return tuple(names), problems + [f'policies: @id("{name}") is there twice' for name in twice]


def _name_of(statement: Statement, schema: cedarpy.Schema) -> str:
    try:
        parsed = json.loads(cedarpy.policies_to_json_str(statement.text))
    except ValueError as error:
        raise InvalidPayloadError(str(error)) from error
    if parsed["templates"] or len(parsed["staticPolicies"]) != 1:
        raise InvalidPayloadError("not one policy; templates are not used")
    name = parsed["staticPolicies"].popitem()[1].get("annotations", {}).get("id")
    if not name:
        raise InvalidPayloadError("a policy without @id, by which the audit names it")
    result = cedarpy.validate_policies(statement.text, schema)
    if not result.validation_passed:
        said = "; ".join(error.error.replace("`policy0`", f'"{name}"') for error in result.errors)
        raise InvalidPayloadError(said)
    return str(name)


def split(file: str, text: str) -> Iterator[Statement]:
    """The statements of a file: each ends with a `;` outside of brackets, texts and comments."""
    line = begun = 1
    start = position = depth = 0
    is_begun = False
    while position < len(text):
        end = _token_end(text, position)
        piece = text[position:end]
        if not is_begun and not piece.isspace() and not piece.startswith("//"):
            is_begun, begun, start = True, line, position
        depth += (piece in "{([") - (piece in "})]") if piece in _PUNCTUATION else 0
        line += piece.count("\n")
        position = end
        if piece == ";" and depth <= 0:
            yield Statement(file, begun, text[start:end])
            is_begun, depth = False, 0
    if is_begun:
        yield Statement(file, begun, text[start:])


def _token_end(text: str, position: int) -> int:
    """Where a comment, a text or a single character ends."""
    if text.startswith("//", position):
        end = text.find("\n", position)
        return len(text) if end < 0 else end
    if text[position] != '"':
        return position + 1
    end = position + 1
    while end < len(text) and text[end] != '"':
        end += 2 if text[end] == "\\" else 1
    return min(end + 1, len(text))
