"""What doctor checks, in the order it tells of it."""

from collections.abc import Iterator
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Final

from teleprefetch.adapters.aws_errors import in_our_words
from teleprefetch.adapters.keys_discovery import discover_keys
from teleprefetch.adapters.keys_http import fetch_document
from teleprefetch.errors import PrefetchError
from teleprefetch.operate.doctor_aws import bucket, events_rules, lookup_key, queues, quota, table
from teleprefetch.operate.findings import Check, Finding, Patient, failure, ok, warning
from teleprefetch.operate.site import client
from teleprefetch.operate.status import readiness
from teleprefetch.run_records import RunFilter
from teleprefetch.token_settings import token_issuers

_OVERDUE_AFTER: Final = timedelta(minutes=3)
_LOOK_BACK: Final = timedelta(hours=24)
_MOST_RUNS: Final = 2_000
_FETCH_S: Final = 3.0


def routing(patient: Patient) -> Iterator[Finding]:
    """Each location has a node that takes orders."""
    settings = patient.site.settings
    known = settings.routing.locations
    drained = patient.site.nodes.drained()
    for location, nodes in known.items():
        if drained.issuperset(nodes):
            yield warning(
                "routing",
                f"every node of {location} is drained; orders go to them all the same",
                f"teleprefetch drain {nodes[0]} --undo",
            )
    yield ok("routing", f"{len(settings.routing.nodes)} nodes, {len(known)} locations")


def nodes(patient: Patient) -> Iterator[Finding]:
    """Each node answers that it takes orders, and its clock agrees with the one here."""
    for node in patient.site.settings.routing.nodes:
        ready, told = readiness(patient.site, node)
        if ready is None:
            yield warning(
                "nodes",
                f"{node}: {told}",
                "set the parameter NodeUrls, or the variable NODE_URLS for this command",
            )
            continue
        if not ready:
            yield failure(
                "nodes",
                f"{node}: {told}",
                f"look at the node's log and process; until it is back: teleprefetch drain {node}",
            )
            continue
        yield ok("nodes", f"{node}: ready")
        yield from _clock_of_node(patient, node)


def _clock_of_node(patient: Patient, node: str) -> Iterator[Finding]:
    answer = patient.site.node_http.ask(node, "/healthz")
    if answer.said_at is not None:
        yield from _skew(f"{node}'s", (answer.said_at - patient.now()).total_seconds())


def clock(patient: Patient) -> Iterator[Finding]:
    """The clock here agrees with AWS', since deadlines and signatures depend on it."""
    with in_our_words("caller"):
        answer = client("sts").get_caller_identity()
    date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    if date is None:
        yield warning("clock", "AWS' answer has no Date", "compare the clock with another")
        return
    yield from _skew("AWS'", (parsedate_to_datetime(date) - patient.now()).total_seconds())


def _skew(whose: str, skew_s: float) -> Iterator[Finding]:
    if abs(skew_s) > 5:
        yield failure(
            "clock",
            f"{whose} clock is {skew_s:+.0f} s from the one here",
            "let both follow NTP (chrony); a deadline is met by the clock of whoever waits",
        )
    else:
        yield ok("clock", f"{whose} clock is within 5 s of the one here")


def keys(patient: Patient) -> Iterator[Finding]:
    """The issuers of readers' tokens are named, and give their keys."""
    name = patient.site.stack.resources.get("AuthorizeFunction")
    variables = patient.environment
    if name is not None:
        with in_our_words("authorizer"):
            function = client("lambda").get_function_configuration(FunctionName=name)
        variables = function.get("Environment", {}).get("Variables", {})
    try:
        issuers = token_issuers(variables)
    except PrefetchError as error:
        yield failure("keys", str(error), "correct the parameter TokenIssuers and deploy again")
        return
    if not issuers:
        yield warning(
            "keys",
            "TOKEN_ISSUERS is empty: the authorizer refuses every reader's token",
            "name who issues tokens in the parameter TokenIssuers (shared/docs/reference.md)",
        )
    for rules in issuers:
        hosts = rules.key_hosts

        def fetch(url: str, hosts: frozenset[str] = hosts) -> bytes:
            return fetch_document(url, hosts=hosts, limit_s=_FETCH_S)

        try:
            fetch(rules.keys.jwks_uri or discover_keys(rules.issuer, fetch, hosts=hosts))
        except PrefetchError as error:
            yield failure(
                "keys",
                f"the keys of {rules.issuer} cannot be had: {error}",
                "see whether the address is right and reachable; while the keys held are fresh"
                " enough, tokens are still accepted",
            )
        else:
            yield ok("keys", f"{rules.issuer} gives its keys")


def gate(patient: Patient) -> Iterator[Finding]:
    """No notice waits past its deadline: the watchdog runs."""
    now = patient.now()
    waiting = patient.site.runs.find(RunFilter(kind="notice", outcome="waiting"), limit=_MOST_RUNS)
    overdue = [
        run for run in waiting if run.deadline_at and run.deadline_at <= now - _OVERDUE_AFTER
    ]
    if overdue:
        yield failure(
            "gate",
            f"{len(overdue)} notices are past their deadline by 3 minutes and more",
            "teleprefetch reconcile releases them now; then see why SweepAssignments does not run:"
            " its rule, its log, the events' dead-letter queue",
        )
    else:
        yield ok("gate", f"{len(waiting)} notices wait, none past its deadline")


def permissions(patient: Patient) -> Iterator[Finding]:
    """What functions and nodes were refused lately, by their own records."""
    yield from _told_in_records(
        patient,
        "permissions",
        "AccessDeniedError",
        "give the role of what was refused (the cause names the call) that permission; for a node:"
        " the policy of the stack's output NodePolicyArn",
    )


def throttles(patient: Patient) -> Iterator[Finding]:
    """Whether the archive or AWS asked to slow down so long that something failed."""
    yield from _told_in_records(
        patient,
        "quota",
        "OriginThrottledError",
        "ask Service Quotas for more requests a second of what the cause names, or let imports"
        " warm less (BUDGET_BYTES, HISTORICAL_AFTER_DAYS)",
    )


def _told_in_records(patient: Patient, check: str, error: str, cure: str) -> Iterator[Finding]:
    wanted = RunFilter(kind="prefetch", since=patient.now() - _LOOK_BACK)
    imports = RunFilter(kind="import", outcome="failed", since=wanted.since)
    runs = [
        *patient.site.runs.find(wanted, limit=_MOST_RUNS),
        *patient.site.runs.find(imports, limit=_MOST_RUNS),
    ]
    told = [run for run in runs if error in run.cause]
    if told:
        yield failure(check, f"{len(told)} runs in 24 h, the last: {told[0].cause}", cure)
    else:
        yield ok(check, f"no {error} in the records of 24 h")


CHECKS: Final[dict[str, Check]] = {
    "clock": clock,
    "table": table,
    "documents": bucket,
    "lookup key": lookup_key,
    "events": events_rules,
    "queues": queues,
    "routing": routing,
    "nodes": nodes,
    "keys": keys,
    "gate": gate,
    "permissions": permissions,
    "quota": throttles,
    "concurrency": quota,
}
