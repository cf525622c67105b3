"""A table that answers queries by its indexes, as DynamoDB does, and counts what it reads.

moto looks through every item for each query, so that it tells nothing of a large table.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from teleprefetch.adapters.dynamodb_runs import INDEXES

Item = dict[str, dict[str, str]]


class IndexedTable:
    """Items as `DynamoRuns` has them; anything but a query by an index or a key is an error."""

    def __init__(self, items: list[Item]) -> None:
        self.items_read = 0
        self.queries = 0
        self._by_key = {item["pk"]["S"]: item for item in items}
        self._indexes: dict[str, dict[str, list[Item]]] = {}
        for index, attribute in INDEXES.items():
            partitions: dict[str, list[Item]] = defaultdict(list)
            for item in sorted(items, key=_at):
                if attribute in item:
                    partitions[item[attribute]["S"]].append(item)
            self._indexes[index] = partitions

    def get_item(self, *, Key: Any, **_: Any) -> dict[str, Any]:  # noqa: N803  # boto3's name
        self.items_read += 1
        item = self._by_key.get(Key["pk"]["S"])
        return {"Item": item} if item else {}

    def get_paginator(self, operation: str) -> "_Queries":
        assert operation == "query"
        return _Queries(self)

    def pages(self, index: str, values: Any, size: int) -> Iterator[dict[str, Any]]:
        partition = self._indexes[index].get(values[":by"]["S"], [])
        begin = bisect_left(partition, values[":since"]["S"], key=_at)
        end = bisect_right(partition, values[":until"]["S"], key=_at)
        while True:
            page = partition[max(begin, end - size) : end][::-1]
            self.queries += 1
            self.items_read += len(page)
            yield {"Items": page}
            end -= size
            if end <= begin:
                return


class _Queries:
    def __init__(self, table: IndexedTable) -> None:
        self._table = table

    def paginate(self, **asked: Any) -> Iterator[dict[str, Any]]:
        assert asked["ScanIndexForward"] is False
        assert asked["KeyConditionExpression"] == "#by = :by AND #at BETWEEN :since AND :until"
        size = asked["PaginationConfig"]["PageSize"]
        return self._table.pages(asked["IndexName"], asked["ExpressionAttributeValues"], size)


def _at(item: Item) -> str:
    return item["at"]["S"]
