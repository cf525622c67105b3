"""Delivery of EventBridge to Step Functions and Lambda, which moto leaves out.

moto keeps the rules and matches the patterns; only the last step is done here. A rule's target
is invoked on a thread of its own, as the service does not wait for it either.
"""

import copy
import json
import uuid
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

from moto.awslambda.utils import get_backend as lambda_backend
from moto.events.models import Rule
from moto.events.utils import EventMessageType
from moto.stepfunctions.responses import get_backend as step_functions_backend

from teleprefetch.local.asides import aside

_to_other_targets = Rule.send_to_targets


def delivery() -> Any:
    """A patch that is to be entered while the stack is up."""
    return patch.object(Rule, "send_to_targets", _send_to_targets)


def _send_to_targets(
    rule: Rule, original_event: EventMessageType, transform_input: bool = True
) -> None:
    # a rule by the clock has no pattern, and moto's then matches every event
    if not rule.event_pattern.get_pattern():
        return
    if rule.state != "ENABLED" or not rule.event_pattern.matches_event(original_event):
        return
    event = _as_delivered(original_event)
    others = [target for target in rule.targets if not deliver(target["Arn"], event)]
    if others:
        remaining = copy.copy(rule)
        remaining.targets = others
        _to_other_targets(remaining, original_event, transform_input)


def _as_delivered(original_event: EventMessageType) -> dict[str, Any]:
    event = copy.deepcopy(dict(original_event))
    event.pop("ingestion-time", None)
    if not isinstance(event["time"], str):
        event["time"] = datetime.fromtimestamp(float(str(event["time"])), UTC).strftime(
            "%Y-%m-%dT%H:%M:%SZ"
        )
    return event


def deliver(arn: str, event: dict[str, Any]) -> bool:
    """Start a machine, or invoke a function on a thread of its own; False for any other target."""
    _, _, service, region, account_id, _ = arn.split(":", 5)
    text = json.dumps(event)
    if service == "states":
        name = f"{event['id']}_{uuid.uuid4()}"[:80]
        machines = step_functions_backend(account_id, region)
        machines.start_execution(arn, name, text)
        return True
    if service == "lambda":
        functions = lambda_backend(account_id, region)
        headers = {"x-amz-invocation-type": "Event"}
        aside(functions.invoke, arn, None, text, headers, {})
        return True
    return False
