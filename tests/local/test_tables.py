"""A table of the local stack is read while others write to it."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from moto.dynamodb.models.table import Table

from teleprefetch.local.tables import read_while_written


@dataclass
class Item:
    hash_key: str
    range_key: str


@dataclass
class Busy:
    """A table that gets another item whenever somebody looks at one."""

    range_key_attr: str = "sk"
    items: dict[str, dict[str, Item]] = field(default_factory=dict)

    def put(self, hash_key: str) -> None:
        self.items[hash_key] = _Watched(self, {"x": Item(hash_key, "x")})


class _Watched(dict[str, Item]):
    def __init__(self, table: Busy, items: dict[str, Item]) -> None:
        super().__init__(items)
        self._table = table

    def values(self) -> Any:
        self._table.put(f"new-{len(self._table.items)}")
        return super().values()


def keys_read(table: Busy) -> list[str]:
    return [item.hash_key for item in Table.all_items(table)]  # type: ignore[arg-type, attr-defined]


def test_what_was_there_is_read_while_more_comes() -> None:
    table = Busy()
    for hash_key in ("b", "a", "c"):
        table.put(hash_key)

    with read_while_written():
        assert keys_read(table) == ["a", "b", "c"]

    assert len(table.items) == 6


def test_moto_alone_does_not_bear_it() -> None:
    """If this fails, moto bears it by now, and `local/tables.py` can go."""
    table = Busy()
    table.put("a")

    with pytest.raises(RuntimeError, match="changed size"):
        keys_read(table)
