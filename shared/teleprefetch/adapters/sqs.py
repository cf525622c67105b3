"""A node's queue of orders in SQS."""

from typing import TYPE_CHECKING, NamedTuple

from teleprefetch.adapters.aws_errors import in_our_words

if TYPE_CHECKING:
    from mypy_boto3_sqs.client import SQSClient


class SqsOrder(NamedTuple):
    """An order as it came off the queue."""

    body: str
    receipt: str


class SqsOrders:
    """`ports.Orders` on one queue; an order is invisible to others for `visibility_s`."""

    def __init__(self, client: "SQSClient", queue_url: str, visibility_s: int) -> None:
        self._client = client
        self._queue_url = queue_url
        self._visibility_s = visibility_s

    def receive(self, *, wait_s: float) -> tuple[SqsOrder, ...]:
        """The next orders, at most ten; waits up to `wait_s` (at most 20) for the first."""
        with in_our_words("orders queue"):
            answer = self._client.receive_message(
                QueueUrl=self._queue_url,
                MaxNumberOfMessages=10,
                WaitTimeSeconds=min(20, int(wait_s)),
                VisibilityTimeout=self._visibility_s,
            )
        return tuple(
            SqsOrder(body=message["Body"], receipt=message["ReceiptHandle"])
            for message in answer.get("Messages", ())
        )

    def extend(self, receipt: str, *, visibility_s: int) -> None:
        """Keep an order invisible for that long from now."""
        with in_our_words("orders queue"):
            self._client.change_message_visibility(
                QueueUrl=self._queue_url, ReceiptHandle=receipt, VisibilityTimeout=visibility_s
            )

    def delete(self, receipt: str) -> None:
        """Take an order off the queue for good."""
        with in_our_words("orders queue"):
            self._client.delete_message(QueueUrl=self._queue_url, ReceiptHandle=receipt)
