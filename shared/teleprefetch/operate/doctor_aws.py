"""Doctor's checks of the stack's own resources."""

import json
from collections.abc import Iterator
from typing import Any, Final

from teleprefetch.adapters.aws_errors import in_our_words
from teleprefetch.adapters.dynamodb_runs import INDEXES
from teleprefetch.errors import InvalidPayloadError, OriginUnavailableError
from teleprefetch.operate.findings import Finding, Patient, failure, ok, warning
from teleprefetch.operate.site import client
from teleprefetch.operate.status import queue_depth

_DEPLOY: Final = "deploy the stack again, or undo what was changed by hand"
# what SAM calls the rule of an event of a resource: both names together
_RULES: Final = {
    "ImportMachineHealthImagingEvent": "HealthImaging's events start imports",
    "AssignmentMachineStudyAssigned": "the worklist's events start assignments",
    "ReleaseAssignmentFunctionMachineFailed": "a failed assignment is released",
    "RecordFailureFunctionMachineFailed": "a failed import or prefetch is recorded",
    "SweepImportsFunctionEveryQuarterHour": "lost import events are looked for",
    "SweepAssignmentsFunctionEveryMinute": "notices past their deadline are released",
}
_LEAST_CONCURRENCY: Final = 100


def table(patient: Patient) -> Iterator[Finding]:
    """The table is there, with its indexes, and forgets what has expired."""
    name = patient.site.settings.table_name
    with in_our_words("table"):
        dynamodb = client("dynamodb")
        described = dynamodb.describe_table(TableName=name)["Table"]
        expiry = dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    has = {one["IndexName"] for one in described.get("GlobalSecondaryIndexes", [])}
    lacking = sorted(INDEXES.keys() - has)
    forgets = expiry.get("TimeToLiveStatus") in {"ENABLED", "ENABLING"}
    if lacking:
        yield failure(
            "table",
            f"{name} lacks the indexes {', '.join(lacking)}: find, why and the watchdog need them",
            "deploy the stack again; an update makes one index at a time, so deploy once for each",
        )
    if not forgets:
        yield failure(
            "table",
            f"{name} keeps what has expired: its time to live is off",
            f"aws dynamodb update-time-to-live --table-name {name}"
            " --time-to-live-specification Enabled=true,AttributeName=expires_at",
        )
    if forgets and not lacking:
        yield ok("table", f"{name} answers, and forgets what has expired")


def bucket(patient: Patient) -> Iterator[Finding]:
    """The documents bucket is there and may be read."""
    name = patient.site.settings.documents_bucket
    try:
        with in_our_words("documents bucket"):
            client("s3").head_bucket(Bucket=name)
    except OriginUnavailableError:
        yield failure("documents", f"there is no bucket {name}", _DEPLOY)
        return
    yield ok("documents", f"{name} answers")


def lookup_key(patient: Patient) -> Iterator[Finding]:
    """The key of accession numbers and patients is there, enabled, and of its kind."""
    key_id = patient.site.settings.lookup_key_id
    if not key_id:
        yield warning(
            "lookup key",
            "LOOKUP_KEY_ID is empty: runs are not found by accession number or patient",
            "deploy the shipped template, which makes the key",
        )
        return
    with in_our_words("lookup key"):
        key = client("kms").describe_key(KeyId=key_id)["KeyMetadata"]
    if key["KeyState"] != "Enabled":
        yield failure(
            "lookup key",
            f"the key is {key['KeyState']}: runs are recorded without accession number and patient",
            f"aws kms cancel-key-deletion, then aws kms enable-key --key-id {key_id}",
        )
        return
    if key.get("KeyUsage") != "GENERATE_VERIFY_MAC":
        yield failure(
            "lookup key",
            f"the key is for {key.get('KeyUsage')}, not for GENERATE_VERIFY_MAC",
            "name an HMAC key (KeySpec HMAC_256); earlier runs are not found under a new one",
        )
        return
    yield ok("lookup key", "enabled")


def events_rules(patient: Patient) -> Iterator[Finding]:
    """Each rule is enabled, leads somewhere, and is about a data store that is known."""
    resources = patient.site.stack.resources
    for logical_id, what in _RULES.items():
        if logical_id not in resources:
            if patient.site.stack.name:
                yield failure("events", f"{logical_id} is gone: {what} no more", _DEPLOY)
            continue
        name = resources[logical_id].rsplit("/", 1)[-1]
        yield from _rule(patient, name, logical_id, what)


def _rule(patient: Patient, name: str, logical_id: str, what: str) -> Iterator[Finding]:
    events = client("events")
    try:
        with in_our_words(f"rule {name}"):
            rule = events.describe_rule(Name=name)
            targets = events.list_targets_by_rule(Rule=name)["Targets"]
    except InvalidPayloadError:
        yield failure("events", f"the rule {name} is gone: {what} no more", _DEPLOY)
        return
    if rule["State"] != "ENABLED":
        yield failure(
            "events", f"the rule {name} is {rule['State']}: {what} no more",
            f"aws events enable-rule --name {name}; what was missed: teleprefetch reconcile",
        )  # fmt: skip
    elif not targets:
        yield failure("events", f"the rule {name} leads nowhere: {what} no more", _DEPLOY)
    elif unknown := _unknown_stores(patient, logical_id, rule):
        yield failure(
            "events",
            f"the rule {name} is about the data store {', '.join(unknown)}, not in ORIGINS",
            "give the parameters DatastoreId and Origins the same data store and deploy again",
        )
    else:
        yield ok("events", what)


def _unknown_stores(patient: Patient, logical_id: str, rule: dict[str, Any]) -> list[str]:
    if logical_id != "ImportMachineHealthImagingEvent":
        return []
    pattern = json.loads(rule.get("EventPattern") or "{}")
    stores = pattern.get("detail", {}).get("datastoreId", [])
    return sorted(set(stores) - set(patient.site.settings.origins))


def queues(patient: Patient) -> Iterator[Finding]:
    """Each node's queue is there and sends away what it cannot carry out; nothing was sent away."""
    for node, url in patient.site.settings.routing.nodes.items():
        try:
            with in_our_words(f"queue of {node}"):
                told = client("sqs").get_queue_attributes(
                    QueueUrl=url, AttributeNames=["RedrivePolicy"]
                )
        except InvalidPayloadError:
            yield failure(
                "queues", f"{node}: there is no queue at the address in ROUTING",
                "correct the parameter Routing, or deploy the stack that the queue belongs to",
            )  # fmt: skip
            continue
        if not told.get("Attributes", {}).get("RedrivePolicy"):
            yield failure(
                "queues", f"{node}: its queue has no dead-letter queue; a bad order comes for ever",
                _DEPLOY,
            )  # fmt: skip
        else:
            yield ok("queues", f"{node}: its queue answers")
    yield from _dead_letters(patient)


def _dead_letters(patient: Patient) -> Iterator[Finding]:
    cures = {
        "NodeDeadLetterQueue": "the node's log says why it refused them; then replay their"
        " prefetch",
        "EventsDeadLetterQueue": "their attributes ERROR_CODE and RULE_ARN say what failed; then"
        " teleprefetch reconcile",
    }
    for name, cure in cures.items():
        url = patient.site.stack.resources.get(name)
        if url is not None and (count := queue_depth(url)[0]):
            yield failure("queues", f"{count} messages lie in {name}", cure)


def quota(_patient: Patient) -> Iterator[Finding]:
    """Lambda may run enough functions at once."""
    with in_our_words("account settings"):
        limits = client("lambda").get_account_settings()["AccountLimit"]
    left = int(limits["UnreservedConcurrentExecutions"])
    if left < _LEAST_CONCURRENCY:
        yield warning(
            "concurrency",
            f"{left} functions may run at once, which a burst of imports needs more than",
            "ask Service Quotas for more of Lambda's concurrent executions (L-B99A9384)",
        )
    else:
        yield ok("concurrency", f"{left} functions may run at once")
