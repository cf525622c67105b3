"""Which nodes are being emptied: one item for each in the table, without an end.

pk      sk       attributes
NODES   <node>   drained_by, reason, at
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from teleprefetch.adapters.aws_errors import in_our_words

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient


class DynamoNodes:
    """`ports.Nodes`."""

    def __init__(self, client: "DynamoDBClient", table_name: str) -> None:
        self._client = client
        self._table_name = table_name

    def drained(self) -> frozenset[str]:
        """The nodes that are to get no orders."""
        with in_our_words("table"):
            answer = self._client.query(
                TableName=self._table_name,
                KeyConditionExpression="pk = :pk",
                ExpressionAttributeValues={":pk": {"S": "NODES"}},
                ConsistentRead=True,
            )
        return frozenset(item["sk"]["S"] for item in answer["Items"])

    def drain(self, node: str, *, by: str, reason: str, at: datetime) -> None:
        """Send a node no more orders."""
        with in_our_words("table"):
            self._client.put_item(
                TableName=self._table_name,
                Item={
                    "pk": {"S": "NODES"},
                    "sk": {"S": node},
                    "drained_by": {"S": by},
                    "reason": {"S": reason},
                    "at": {"S": at.astimezone(UTC).isoformat()},
                },
            )

    def undrain(self, node: str) -> None:
        """Send a node orders again."""
        with in_our_words("table"):
            self._client.delete_item(
                TableName=self._table_name, Key={"pk": {"S": "NODES"}, "sk": {"S": node}}
            )
