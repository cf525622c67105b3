"""DynamoDB tables that may be read while they are written: moto walks the live dictionaries."""

from typing import Any
from unittest.mock import patch

from moto.dynamodb.models.table import Table


def read_while_written() -> Any:
    """A patch that is to be entered while the stack is up."""
    return patch.object(Table, "all_items", _all_items)


def _all_items(table: Any) -> list[Any]:
    """All items in the order of their keys, of one instant for each hash key."""
    items: list[Any] = []
    for kept in list(table.items.values()):
        items += list(kept.values()) if table.range_key_attr else [kept]
    return sorted(
        items, key=lambda item: (item.hash_key, item.range_key) if item.range_key else item.hash_key
    )
