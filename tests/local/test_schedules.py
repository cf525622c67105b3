"""Rules by the clock on the local stack: run at their rate while enabled, and by no event."""

import threading
from pathlib import Path
from typing import Any

import boto3
import pytest

from teleprefetch.local import schedules
from teleprefetch.local.aws import LocalAws
from tests.builders import DATASTORE_ID
from tests.waiting import until

pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse AWS")


def test_a_rule_runs_at_its_rate_while_it_is_enabled_and_never_by_an_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(schedules._SECONDS, "minute", 0.02)
    calls: list[dict[str, Any]] = []
    called = threading.Event()

    def handler(event: dict[str, Any], context: Any) -> None:
        calls.append(event)
        called.set()

    with LocalAws(log_path=tmp_path / "log", time_scale=0.5) as aws:
        aws.deploy({"DatastoreId": DATASTORE_ID, "ImportOutputBucket": "output"})
        [sweep] = [name for name in aws.lambdas.names if "SweepAssignments" in name]
        aws.lambdas.replace(sweep, handler)
        entry = {"Source": "worklist", "DetailType": "Nothing Of Ours", "Detail": "{}"}
        boto3.client("events").put_events(Entries=[entry])  # type: ignore[list-item]
        assert not called.wait(0.2)

        with schedules.running():
            until(lambda: len(calls) >= 2, "two rounds")
        assert {call["detail-type"] for call in calls} == {"Scheduled Event"}

        rule = aws.physical["SweepAssignmentsFunctionEveryMinute"].rsplit("/", 1)[-1]
        boto3.client("events").disable_rule(Name=rule)
        before = len(calls)
        called.clear()
        with schedules.running():
            assert not called.wait(0.2)
        assert len(calls) <= before + 1
