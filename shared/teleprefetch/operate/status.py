"""How a stack is right now: notices that wait, prefetches under way, queues, nodes."""

from collections import Counter
from datetime import datetime

from teleprefetch.adapters.aws_errors import in_our_words
from teleprefetch.errors import NodeUnavailableError
from teleprefetch.model import Instant, Value
from teleprefetch.operate.site import Site, client
from teleprefetch.run_records import KINDS, RunFilter

MOST_COUNTED = 5_000  # of each kind; beyond it the newest are told


class NodeStatus(Value):
    """A node: whether it takes orders, and how many wait for it; None where nobody can tell."""

    node: str
    ready: bool | None
    told: str
    drained: bool
    orders_waiting: int
    orders_under_way: int


class Status(Value):
    """What an operator wants to know first."""

    at: Instant
    since: Instant
    waiting: int
    overdue: int
    next_deadline_at: Instant | None
    warming: int
    outcomes: dict[str, dict[str, int]]
    dead_letters: dict[str, int]
    nodes: tuple[NodeStatus, ...]

    @property
    def problems(self) -> tuple[str, ...]:
        """What somebody should look at."""
        found = [f"{self.overdue} notices are past their deadline"] if self.overdue else []
        found += [
            f"{count} dead letters in {name}" for name, count in self.dead_letters.items() if count
        ]
        found += [f"{one.node}: {one.told}" for one in self.nodes if one.ready is False]
        failed = sum(counts.get("failed", 0) for counts in self.outcomes.values())
        return (*found, *([f"{failed} runs failed"] if failed else []))


def status_of(site: Site, *, since: datetime, now: datetime) -> Status:
    """Look at everything once; reads alone."""
    waiting = site.runs.find(RunFilter(kind="notice", outcome="waiting"), limit=MOST_COUNTED)
    deadlines = sorted(run.deadline_at for run in waiting if run.deadline_at is not None)
    warming = site.runs.find(
        RunFilter(kind="prefetch", outcome="warming", since=since), limit=MOST_COUNTED
    )
    return Status(
        at=now,
        since=since,
        waiting=len(waiting),
        overdue=sum(deadline <= now for deadline in deadlines),
        next_deadline_at=next((one for one in deadlines if one > now), None),
        warming=len(warming),
        outcomes={kind: _counts(site, kind, since) for kind in KINDS},
        dead_letters=_dead_letters(site),
        nodes=_nodes(site),
    )


def queue_depth(queue_url: str) -> tuple[int, int]:
    """How many messages wait in a queue, and how many are under way; SQS counts approximately."""
    with in_our_words("queue"):
        attributes = client("sqs").get_queue_attributes(
            QueueUrl=queue_url,
            AttributeNames=[
                "ApproximateNumberOfMessages",
                "ApproximateNumberOfMessagesNotVisible",
            ],
        )["Attributes"]
    return (
        int(attributes["ApproximateNumberOfMessages"]),
        int(attributes["ApproximateNumberOfMessagesNotVisible"]),
    )


def readiness(site: Site, node: str) -> tuple[bool | None, str]:
    """Whether a node takes orders, in words too; None if its address is not known."""
    if node not in site.node_http.known:
        return None, "its address is not known (NODE_URLS)"
    try:
        answer = site.node_http.ask(node, "/readyz")
    except NodeUnavailableError as error:
        return False, f"does not answer: {error}"
    if answer.status == 200:
        return True, "ready"
    return False, f"answers {answer.status}: takes no orders"


def _counts(site: Site, kind: str, since: datetime) -> dict[str, int]:
    runs = site.runs.find(RunFilter.parse({"kind": kind, "since": since}), limit=MOST_COUNTED)
    return dict(Counter(run.outcome for run in runs))


def _dead_letters(site: Site) -> dict[str, int]:
    queues = {
        name: url
        for name, url in site.stack.resources.items()
        if name in {"NodeDeadLetterQueue", "EventsDeadLetterQueue"}
    }
    return {name: queue_depth(url)[0] for name, url in queues.items()}


def _nodes(site: Site) -> tuple[NodeStatus, ...]:
    drained = site.nodes.drained()
    return tuple(
        _node(site, node, queue_url, is_drained=node in drained)
        for node, queue_url in site.settings.routing.nodes.items()
    )


def _node(site: Site, node: str, queue_url: str, *, is_drained: bool) -> NodeStatus:
    waiting, under_way = queue_depth(queue_url)
    ready, told = readiness(site, node)
    return NodeStatus(
        node=node,
        ready=ready,
        told=told,
        drained=is_drained,
        orders_waiting=waiting,
        orders_under_way=under_way,
    )
