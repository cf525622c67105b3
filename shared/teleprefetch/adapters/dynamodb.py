"""Outcomes, progress and notices in one DynamoDB table.

    pk                  sk            document      conditions on
    OUTCOME#<subject>   OUTCOME       Outcome       state
    PREFETCH#<id>       NODE#<node>   WarmReport    reported_at
    ASSIGNMENT#<id>     ADMITTED      Assignment    held_by
    ASSIGNMENT#<id>     NOTICE        Notice        claimed_until, published_at, late_warm_at

Every item has `document` (the value as JSON) and `expires_at` (epoch seconds, for TTL).
"""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from teleprefetch.adapters.aws_errors import in_our_words
from teleprefetch.assignment import Assignment, Notice
from teleprefetch.model import Value, WarmReport
from teleprefetch.prefetch import Outcome

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient

CLAIM_S: Final = 30  # longer than a release may take; a claimant that is silent so long is dead


class _Table:
    def __init__(self, client: "DynamoDBClient", table_name: str, kept_days: int) -> None:
        self._client = client
        self._table_name = table_name
        self._kept = timedelta(days=kept_days)

    def _item(self, pk: str, sk: str, document: Value, at: datetime) -> dict[str, Any]:
        return {
            "pk": {"S": pk},
            "sk": {"S": sk},
            "document": {"S": document.model_dump_json()},
            "expires_at": {"N": str(int((at + self._kept).timestamp()))},
        }

    def _put_if(
        self,
        item: dict[str, Any],
        condition: str,
        *,
        names: dict[str, str] | None = None,
        values: dict[str, Any] | None = None,
    ) -> dict[str, Any] | None:
        """None if the item was written, else the item that stood in its way."""
        extra: dict[str, Any] = {"ExpressionAttributeNames": names} if names else {}
        if values:
            extra["ExpressionAttributeValues"] = values
        with in_our_words("table"):
            try:
                self._client.put_item(
                    TableName=self._table_name,
                    Item=item,
                    ConditionExpression=condition,
                    **extra,
                )
            except self._client.exceptions.ConditionalCheckFailedException:
                return self._get(item["pk"]["S"], item["sk"]["S"])
        return None

    def _get(self, pk: str, sk: str) -> dict[str, Any] | None:
        with in_our_words("table"):
            answer = self._client.get_item(
                TableName=self._table_name,
                Key={"pk": {"S": pk}, "sk": {"S": sk}},
                ConsistentRead=True,
            )
        return answer.get("Item")


class DynamoOutcomes(_Table):
    """`ports.Outcomes`."""

    def record(self, outcome: Outcome) -> Outcome:
        """Write the outcome unless one stands that is not `failed`."""
        item = self._item(f"OUTCOME#{outcome.subject}", "OUTCOME", outcome, outcome.recorded_at)
        item["state"] = {"S": outcome.state}
        standing = self._put_if(
            item,
            "attribute_not_exists(pk) OR #state = :failed",
            names={"#state": "state"},
            values={":failed": {"S": "failed"}},
        )
        return outcome if standing is None else Outcome.parse_json(standing["document"]["S"])

    def outcome(self, subject: str) -> Outcome | None:
        """The outcome that stands."""
        item = self._get(f"OUTCOME#{subject}", "OUTCOME")
        return Outcome.parse_json(item["document"]["S"]) if item else None


class DynamoProgress(_Table):
    """`ports.Progress`."""

    def report(self, report: WarmReport) -> None:
        """Write a report unless a newer one stands."""
        pk, sk = f"PREFETCH#{report.prefetch_id}", f"NODE#{report.node}"
        item = self._item(pk, sk, report, report.reported_at)
        item["reported_at"] = {"N": f"{report.reported_at.timestamp():.6f}"}
        self._put_if(
            item,
            "attribute_not_exists(pk) OR reported_at <= :at",
            values={":at": item["reported_at"]},
        )

    def reports(self, prefetch_id: str) -> tuple[WarmReport, ...]:
        """The last report of each node."""
        with in_our_words("table"):
            answer = self._client.query(
                TableName=self._table_name,
                KeyConditionExpression="pk = :pk AND begins_with(sk, :node)",
                ExpressionAttributeValues={
                    ":pk": {"S": f"PREFETCH#{prefetch_id}"},
                    ":node": {"S": "NODE#"},
                },
                ConsistentRead=True,
            )
        return tuple(WarmReport.parse_json(item["document"]["S"]) for item in answer["Items"])


class DynamoAssignments(_Table):
    """`ports.Assignments`."""

    def admit(self, assignment: Assignment, *, execution_id: str) -> str:
        """Write the admission unless one stands; the execution that holds it."""
        pk = f"ASSIGNMENT#{assignment.assignment_id}"
        item = self._item(pk, "ADMITTED", assignment, assignment.deadline_at)
        item["held_by"] = {"S": execution_id}
        standing = self._put_if(item, "attribute_not_exists(pk)")
        return execution_id if standing is None else str(standing["held_by"]["S"])

    def admitted(self, assignment_id: str) -> Assignment | None:
        """The admission that stands."""
        item = self._get(f"ASSIGNMENT#{assignment_id}", "ADMITTED")
        return Assignment.parse_json(item["document"]["S"]) if item else None

    def claim_notice(self, notice: Notice, *, now: datetime) -> Notice | None:
        """Claim the right to publish for `CLAIM_S`; the first notice claimed is the one kept."""
        pk = f"ASSIGNMENT#{notice.assignment_id}"
        item = self._item(pk, "NOTICE", notice, now)
        item["claimed_until"] = {"N": str(now.timestamp() + CLAIM_S)}
        standing = self._put_if(item, "attribute_not_exists(pk)")
        if standing is None:
            return notice
        return Notice.parse_json(standing["document"]["S"]) if self._reclaim(pk, now) else None

    def notice_published(self, assignment_id: str, *, at: datetime) -> None:
        """Mark the claimed notice as out."""
        self._update(
            f"ASSIGNMENT#{assignment_id}",
            "SET published_at = :at",
            values={":at": {"S": at.isoformat()}},
        )

    def drop_claim(self, assignment_id: str) -> None:
        """End the claim at once."""
        self._update(
            f"ASSIGNMENT#{assignment_id}",
            "SET claimed_until = :past",
            values={":past": {"N": "0"}},
        )

    def late_warm(self, assignment_id: str, *, at: datetime) -> bool:
        """Write down, once, that `Study Warm` follows a notice that is out."""
        with in_our_words("table"):
            try:
                self._client.update_item(
                    TableName=self._table_name,
                    Key={"pk": {"S": f"ASSIGNMENT#{assignment_id}"}, "sk": {"S": "NOTICE"}},
                    UpdateExpression="SET late_warm_at = :at",
                    ConditionExpression="attribute_exists(published_at) "
                    "AND attribute_not_exists(late_warm_at)",
                    ExpressionAttributeValues={":at": {"S": at.isoformat()}},
                )
            except self._client.exceptions.ConditionalCheckFailedException:
                return False
        return True

    def drop_late_warm(self, assignment_id: str) -> None:
        """Let another send `Study Warm`."""
        self._update(f"ASSIGNMENT#{assignment_id}", "REMOVE late_warm_at")

    def notice(self, assignment_id: str) -> Notice | None:
        """The notice that was claimed first."""
        item = self._get(f"ASSIGNMENT#{assignment_id}", "NOTICE")
        return Notice.parse_json(item["document"]["S"]) if item else None

    def _reclaim(self, pk: str, now: datetime) -> bool:
        until, at = now.timestamp() + CLAIM_S, now.timestamp()
        with in_our_words("table"):
            try:
                self._client.update_item(
                    TableName=self._table_name,
                    Key={"pk": {"S": pk}, "sk": {"S": "NOTICE"}},
                    UpdateExpression="SET claimed_until = :until",
                    ConditionExpression="attribute_not_exists(published_at) "
                    "AND claimed_until < :now",
                    ExpressionAttributeValues={":until": {"N": str(until)}, ":now": {"N": str(at)}},
                )
            except self._client.exceptions.ConditionalCheckFailedException:
                return False
        return True

    def _update(self, pk: str, expression: str, *, values: dict[str, Any] | None = None) -> None:
        extra: dict[str, Any] = {"ExpressionAttributeValues": values} if values else {}
        with in_our_words("table"):
            self._client.update_item(
                TableName=self._table_name,
                Key={"pk": {"S": pk}, "sk": {"S": "NOTICE"}},
                UpdateExpression=expression,
                **extra,
            )
