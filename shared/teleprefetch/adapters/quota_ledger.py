"""The shared state of a data store's quotas: one item for each operation, conditional writes.

    pk             sk        attributes                         conditions on
    QUOTA#<key>    QUOTA     at_window, taken, demand, readers, at_window, taken; learned_window
                             demand_before, readers_before,
                             learned, learned_window, expires_at

Writes add up and do not overwrite each other, so that a hundred nodes seldom meet: one is refused
only where the window has changed or its tokens are out. Source: DynamoDB developer guide,
"Condition expressions", "Update expressions"; the item of a refusal comes with it
(ReturnValuesOnConditionCheckFailure).
"""

from collections.abc import Mapping
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from teleprefetch.adapters.aws_errors import in_our_words
from teleprefetch.domain.quota import WINDOW_S, slowed_down
from teleprefetch.errors import OriginThrottledError
from teleprefetch.quotas import Ask, Lease, QuotaState

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient

_TRIES: Final = 5
_KEPT_S: Final = 7 * 86_400
_WHOLE: Final = (
    "taken", "demand", "demand_before", "readers", "readers_before", "learned_window",
)  # fmt: skip
_SAME_WINDOW: Final = (
    "SET taken = taken + :granted, demand = demand + :need, readers = readers + :readers"
)
_NEXT_WINDOW: Final = (
    "SET at_window = :window, taken = :granted, demand_before = if_not_exists(demand, :none), "
    "readers_before = if_not_exists(readers, :none), demand = :need, readers = :readers, "
    "expires_at = :expires_at"
)


class DynamoQuotaLedger:
    """`ports.QuotaLedger`.

    Args:
        client: DynamoDB, with short time-outs: a node goes on alone while this is slow.
        table_name: the pipeline's table; the node needs dynamodb:GetItem and UpdateItem on it.
    """

    def __init__(self, client: "DynamoDBClient", table_name: str) -> None:
        self._client = client
        self._table_name = table_name

    def state(self, key: str) -> Lease:
        """Read the item."""
        with in_our_words("quota ledger"):
            answer = self._client.get_item(
                TableName=self._table_name, Key=_key(key), ConsistentRead=True
            )
        return Lease(0, _state(answer.get("Item")), _date_s(answer))

    def lease(self, key: str, ask: Ask) -> Lease:
        """Add to the window's item, or begin the window.

        Raises:
            OriginThrottledError: others changed the item each time in between.
        """
        state = QuotaState()
        granted = min(ask.tokens, ask.limit)
        for _ in range(_TRIES):
            begins = state.window < ask.window
            refused, answer = self._add(key, ask, granted=granted, begins=begins)
            state = _state(refused if refused is not None else answer.get("Attributes"))
            if refused is None:
                return Lease(granted, state, _date_s(answer))
            if state.window > ask.window:
                return Lease(0, state, _date_s(answer))
            granted = (
                max(0, min(ask.tokens, ask.limit - state.taken))
                if state.window == ask.window
                else min(ask.tokens, ask.limit)
            )
        raise OriginThrottledError("quota ledger: too many at once")

    def slow_down(self, key: str, *, window: int) -> Lease:
        """Lower what was learned, unless somebody did so for this window."""
        before = self.state(key)
        after = slowed_down(before.state, window)
        if after == before.state:
            return before
        refused, answer = self._update(
            key,
            "SET learned = :learned, learned_window = :window, expires_at = :expires_at",
            "attribute_not_exists(learned_window) OR learned_window < :window",
            {
                ":learned": {"N": f"{after.learned:.6f}"},
                ":window": _number(window),
                ":expires_at": _expires_at(window),
            },
        )
        known = _state(answer.get("Attributes")) if refused is None else _state(refused)
        return replace(before, state=known, date_s=_date_s(answer))

    def _add(
        self, key: str, ask: Ask, *, granted: int, begins: bool
    ) -> tuple[dict[str, Any] | None, dict[str, Any]]:
        values = {
            ":window": _number(ask.window),
            ":granted": _number(granted),
            ":need": _number(ask.need),
            ":readers": _number(ask.readers),
        }
        if begins:
            extra = {":none": _number(0), ":expires_at": _expires_at(ask.window)}
            condition = "attribute_not_exists(at_window) OR at_window < :window"
            return self._update(key, _NEXT_WINDOW, condition, values | extra)
        condition = "at_window = :window"
        if granted:
            condition += " AND taken <= :room"
            values[":room"] = _number(ask.limit - granted)
        return self._update(key, _SAME_WINDOW, condition, values)

    def _update(
        self, key: str, expression: str, condition: str, values: dict[str, Any]
    ) -> tuple[dict[str, Any] | None, dict[str, Any]]:
        """The item that stood in the way, or None; and the whole answer."""
        with in_our_words("quota ledger"):
            try:
                answer = self._client.update_item(
                    TableName=self._table_name,
                    Key=_key(key),
                    UpdateExpression=expression,
                    ConditionExpression=condition,
                    ExpressionAttributeValues=values,
                    ReturnValues="ALL_NEW",
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
            except ClientError as error:
                refused: dict[str, Any] = dict(error.response)
                if refused.get("Error", {}).get("Code") != "ConditionalCheckFailedException":
                    raise
                return refused.get("Item", {}), refused
        return None, dict(answer)


def _key(key: str) -> dict[str, Any]:
    return {"pk": {"S": f"QUOTA#{key}"}, "sk": {"S": "QUOTA"}}


def _number(value: int) -> dict[str, str]:
    return {"N": str(value)}


def _expires_at(window: int) -> dict[str, str]:
    return _number(int(window * WINDOW_S) + _KEPT_S)


def _state(item: Mapping[str, Any] | None) -> QuotaState:
    held = item or {}
    whole = {name: int(held[name]["N"]) for name in _WHOLE if name in held}
    state = QuotaState(**whole)
    if "at_window" in held:
        state = replace(state, window=int(held["at_window"]["N"]))
    if "learned" in held:
        state = replace(state, learned=float(held["learned"]["N"]))
    return state


def _date_s(answer: Mapping[str, Any]) -> float | None:
    date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    if date is None:
        return None
    try:
        return parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None
