"""Run records in the table: one item for each run, found through the table's indexes.

    pk             sk     attributes
    RUN#<run_id>   RUN    each field that is known, instants to the microsecond; `kind_outcome`

    index               by                      then
    by_event            event_id                at
    by_study            study_instance_uid      at
    by_accession        accession_key           at
    by_patient          patient_key             at
    by_reader           reader                  at
    by_location         reading_location        at
    by_kind             kind                    at
    by_kind_outcome     kind_outcome            at

An item is in the indexes whose attribute it has ("Take advantage of sparse indexes" in the DynamoDB
developer guide). A write sets what it was given and leaves the rest, so that writers need not know
of each other.
"""

import heapq
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from teleprefetch.adapters.aws_errors import in_our_words
from teleprefetch.run_records import KINDS, Run, RunFilter

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient

INDEXES: Final = {
    "by_event": "event_id",
    "by_study": "study_instance_uid",
    "by_accession": "accession_key",
    "by_patient": "patient_key",
    "by_reader": "reader",
    "by_location": "reading_location",
    "by_kind_outcome": "kind_outcome",
    "by_kind": "kind",
}
"""The attribute that each index is by, the narrowest first; all are then by `at`."""

_LEAST_PAGE: Final = 25
_MOST_PAGE: Final = 1000
_FOREVER: Final = datetime(9999, 12, 31, tzinfo=UTC)
_BEFORE: Final = datetime(1, 1, 1, tzinfo=UTC)


class DynamoRuns:
    """`ports.Runs`."""

    def __init__(self, client: "DynamoDBClient", table_name: str, kept_days: int) -> None:
        self._client = client
        self._table_name = table_name
        self._kept = timedelta(days=kept_days)

    def record(self, run: Run) -> None:
        """Set the fields that were given; `at` only if there is none yet."""
        attributes = _attributes(run)
        attributes["kind_outcome"] = f"{run.kind}#{run.outcome}"
        parts = [
            f"#{name} = if_not_exists(#{name}, :{name})" if name == "at" else f"#{name} = :{name}"
            for name in attributes
        ]
        expires_at = str(int((run.at + self._kept).timestamp()))
        with in_our_words("table"):
            self._client.update_item(
                TableName=self._table_name,
                Key=_key(run.run_id),
                UpdateExpression=f"SET {', '.join(parts)}, expires_at = :expires_at",
                ExpressionAttributeNames={f"#{name}": name for name in attributes},
                ExpressionAttributeValues={
                    **{f":{name}": {"S": value} for name, value in attributes.items()},
                    ":expires_at": {"N": expires_at},
                },
            )

    def run(self, run_id: str) -> Run | None:
        """What is recorded of a run, read consistently."""
        with in_our_words("table"):
            answer = self._client.get_item(
                TableName=self._table_name, Key=_key(run_id), ConsistentRead=True
            )
        item = answer.get("Item")
        return _run(item) if item else None

    def find(self, wanted: RunFilter, *, limit: int) -> tuple[Run, ...]:
        """The runs that agree, newest first, by the narrowest index that the filter allows."""
        index, values = _index_for(wanted)
        page_size = min(max(limit, _LEAST_PAGE), _MOST_PAGE)
        found = [self._query(index, value, wanted, page_size=page_size) for value in values]
        merged = heapq.merge(*found, key=lambda run: run.at, reverse=True)
        return tuple(islice((run for run in merged if wanted.admits(run)), limit))

    def _query(self, index: str, value: str, wanted: RunFilter, *, page_size: int) -> Iterator[Run]:
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table_name,
            IndexName=index,
            KeyConditionExpression="#by = :by AND #at BETWEEN :since AND :until",
            ExpressionAttributeNames={"#by": INDEXES[index], "#at": "at"},
            ExpressionAttributeValues={
                ":by": {"S": value},
                ":since": {"S": _instant(wanted.since or _BEFORE)},
                ":until": {"S": _instant(wanted.until or _FOREVER)},
            },
            ScanIndexForward=False,
            PaginationConfig={"PageSize": page_size},
        )
        with in_our_words("table"):
            for page in pages:
                yield from (_run(item) for item in page["Items"])


def _index_for(wanted: RunFilter) -> tuple[str, tuple[str, ...]]:
    if wanted.outcome is not None:
        kinds = KINDS if wanted.kind is None else (wanted.kind,)
        by_outcome = tuple(f"{kind}#{wanted.outcome}" for kind in kinds)
    else:
        by_outcome = ()
    for index, attribute in INDEXES.items():
        if attribute == "kind_outcome" and by_outcome:
            return index, by_outcome
        value = getattr(wanted, attribute, None)
        if value is not None:
            return index, (str(value),)
    return "by_kind", KINDS


def _key(run_id: str) -> dict[str, Any]:
    return {"pk": {"S": f"RUN#{run_id}"}, "sk": {"S": "RUN"}}


def _attributes(run: Run) -> dict[str, str]:
    """The fields that were given, as text; an index takes no empty key, so none is written."""
    given: dict[str, str] = {}
    for name, value in run.model_dump(include=run.model_fields_set).items():
        if isinstance(value, datetime):
            given[name] = _instant(value)
        elif name == "counts":
            given[name] = json.dumps(value)
        elif value is not None:
            given[name] = str(value)
    return given


def _run(item: dict[str, Any]) -> Run:
    known = {name: item[name]["S"] for name in Run.model_fields if name in item}
    if "counts" in known:
        known["counts"] = json.loads(known["counts"])
    return Run.parse(known, at="run")


def _instant(at: datetime) -> str:
    """A time whose order as text is its order as time."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")
