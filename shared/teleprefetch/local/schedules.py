"""Rules by the clock, which moto keeps and never runs: here each runs at its rate while entered."""

import contextlib
import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

import boto3

from teleprefetch.local.event_bridge import deliver

_RATE: Final = re.compile(r"rate\((\d+) (minute|hour|day)s?\)")
_SECONDS: Final = {"minute": 60, "hour": 3600, "day": 86_400}


@contextlib.contextmanager
def running() -> Iterator[None]:
    """Let every enabled rule of the stack that has a rate run at it, on a thread of its own."""
    stop = threading.Event()
    threads = [
        threading.Thread(target=_run, args=(name, every_s, stop), name=f"schedule {name}")
        for name, every_s in _rates()
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _rates() -> Iterator[tuple[str, int]]:
    for rule in boto3.client("events").list_rules()["Rules"]:
        rate = _RATE.fullmatch(rule.get("ScheduleExpression", ""))
        if rate is not None:
            yield rule["Name"], int(rate[1]) * _SECONDS[rate[2]]


def _run(name: str, every_s: int, stop: threading.Event) -> None:
    events: Any = boto3.client("events")
    while not stop.wait(every_s):
        if events.describe_rule(Name=name)["State"] != "ENABLED":
            continue
        event = {
            "version": "0",
            "id": str(uuid4()),
            "detail-type": "Scheduled Event",
            "source": "aws.events",
            "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "detail": {},
        }
        for target in events.list_targets_by_rule(Rule=name)["Targets"]:
            deliver(target["Arn"], event)
