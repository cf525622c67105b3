"""Watches a running stack: events on the bus, states of the machines, progress, the notice."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol, Self

import boto3

from teleprefetch import runtime
from teleprefetch.assignment import Notice
from teleprefetch.model import WarmReport

_EVERY_S: Final = 0.2
_QUEUE: Final = "local-watch"


class Watcher(Protocol):
    """Who is told of what happens."""

    def event_seen(self, at: datetime, detail_type: str) -> None:
        """An event went over the bus."""

    def machine_state(self, machine: str, execution: str, state: str) -> None:
        """An execution entered a state, or ended."""

    def progress(self, report: WarmReport) -> None:
        """A node reported."""


@dataclass(slots=True)
class Watch:
    """Tells a watcher what happens in the stack until it is left.

    `notices` are all that went over the bus, in order; there should be one.
    """

    watcher: Watcher
    prefetch_id: str
    machines: dict[str, str]
    notices: list[Notice] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    _told: dict[str, str] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _queue_url: str = ""

    def __enter__(self) -> Self:
        sqs, events = boto3.client("sqs"), boto3.client("events")
        self._queue_url = sqs.create_queue(QueueName=_QUEUE)["QueueUrl"]
        arn = f"arn:aws:sqs:{sqs.meta.region_name}:123456789012:{_QUEUE}"
        events.put_rule(Name=_QUEUE, EventPattern=json.dumps({"source": [{"prefix": ""}]}))
        events.put_targets(Rule=_QUEUE, Targets=[{"Id": "watch", "Arn": arn}])
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        sqs, machines = boto3.client("sqs"), boto3.client("stepfunctions")
        while True:
            is_last = self._stop.is_set()
            for event in _received(sqs, self._queue_url):
                self._tell_event(event)
            for machine, execution, state in _states(machines, self.machines):
                if self._told.get(execution) != state:
                    self._told[execution] = state
                    self.watcher.machine_state(machine, execution, state)
            for report in runtime.progress().reports(self.prefetch_id):
                self.watcher.progress(report)
            if is_last:
                return
            self._stop.wait(_EVERY_S)

    def _tell_event(self, event: dict[str, Any]) -> None:
        if event["source"] == "aws.states":
            return
        self.events.append(event["detail-type"])
        if event["detail-type"] == "Assignment Released":
            self.notices.append(Notice.parse(event["detail"], at="detail"))
        self.watcher.event_seen(datetime.fromisoformat(event["time"]), event["detail-type"])


def _received(sqs: Any, queue_url: str) -> Iterator[dict[str, Any]]:
    while messages := sqs.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10).get(
        "Messages"
    ):
        for message in messages:
            sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])
            yield json.loads(message["Body"])


def _states(client: Any, machines: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    """Each execution of each machine with the state it is in, or the status it ended with."""
    for machine, arn in machines.items():
        for execution in client.list_executions(stateMachineArn=arn)["executions"]:
            state = execution["status"]
            if state == "RUNNING":
                state = _last_entered(client, execution["executionArn"]) or state
            yield machine, execution["name"], state


def _last_entered(client: Any, execution_arn: str) -> str:
    history = client.get_execution_history(executionArn=execution_arn)["events"]
    entered = [
        event["stateEnteredEventDetails"]
        for event in history
        if "stateEnteredEventDetails" in event
    ]
    return str(entered[-1]["name"]) if entered else ""
