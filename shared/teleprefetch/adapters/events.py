"""The event bus: one event at a time, and a refused entry is an error."""

import json
from typing import TYPE_CHECKING, Any, Final

from teleprefetch.adapters.aws_errors import in_our_words
from teleprefetch.errors import OriginUnavailableError

if TYPE_CHECKING:
    from mypy_boto3_events.client import EventBridgeClient

SOURCE: Final = "teleprefetch"


class EventBridgeEvents:
    """`ports.Events` on one bus."""

    def __init__(self, client: "EventBridgeClient", event_bus_name: str) -> None:
        self._client = client
        self._event_bus_name = event_bus_name

    def publish(self, detail_type: str, detail: dict[str, Any]) -> None:
        """Put one event on the bus.

        PutEvents answers 200 with failed entries inside (EventBridge API reference,
        "PutEvents"), so the count is looked at.
        """
        with in_our_words("event bus"):
            answer = self._client.put_events(
                Entries=[
                    {
                        "Source": SOURCE,
                        "DetailType": detail_type,
                        "Detail": json.dumps(detail),
                        "EventBusName": self._event_bus_name,
                    }
                ]
            )
        if answer["FailedEntryCount"]:
            raise OriginUnavailableError(
                f"event bus: {answer['Entries'][0].get('ErrorCode', 'refused')}"
            )
