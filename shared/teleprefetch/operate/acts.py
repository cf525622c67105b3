"""What operators do beside replays and sweeps: warm, purge, drain; who and why is recorded."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from teleprefetch.adapters.aws_errors import in_our_words
from teleprefetch.errors import DeadlineExceededError, InvalidPayloadError
from teleprefetch.model import Priority, PurgeOrder
from teleprefetch.operate.site import Site, client
from teleprefetch.operate.status import queue_depth
from teleprefetch.prefetch import PrefetchRequest, digest_of
from teleprefetch.run_records import Run, RunOutcome

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who acts, and why."""

    by: str
    reason: str


def warm(
    site: Site,
    actor: Actor,
    *,
    origin_id: str,
    study_instance_uid: str,
    reading_location: str,
    priority: Priority,
    now: datetime,
) -> str:
    """Start a prefetch of a study for a reading location; its name.

    Raises:
        InvalidPayloadError: the archive or the location is not in the settings.
    """
    if origin_id not in site.settings.origins:
        raise InvalidPayloadError("--origin: not in ORIGINS")
    site.settings.routing.nodes_of(reading_location)
    name = "operator-" + digest_of(study_instance_uid, reading_location, now.isoformat())
    request = PrefetchRequest(
        prefetch_id=name,
        origin_id=origin_id,
        study_instance_uid=study_instance_uid,
        reading_locations=(reading_location,),
        cause="operator",
        priority=priority,
        event_id=name,
    )
    record(
        site, actor, f"warm for {reading_location}", now=now, of=name, event_id=name,
        study_instance_uid=study_instance_uid, reading_location=reading_location,
    )  # fmt: skip
    site.histories.start("prefetch", name, {"request": request.model_dump(mode="json")})
    return name


def wait_for(
    site: Site,
    prefetch_id: str,
    *,
    within_s: float,
    say: Say,
    now: Callable[[], datetime],
    sleep: Callable[[float], None],
) -> str:
    """The outcome of a prefetch, once it has one; tells meanwhile how many frames are proven.

    Raises:
        DeadlineExceededError: it has none yet.
    """
    ends = now() + timedelta(seconds=within_s)
    told = ""
    while now() < ends:
        outcome = site.outcomes.outcome(prefetch_id)
        if outcome is not None:
            return outcome.state
        reports = site.progress.reports(prefetch_id)
        line = ", ".join(
            f"{one.node}: {one.frames_verified} of {one.frames_planned} frames proven"
            for one in reports
        )
        if line and line != told:
            say(line)
            told = line
        sleep(1)
    raise DeadlineExceededError(f"--wait: {prefetch_id} goes on; `why` tells of it")


def image_sets_of(site: Site, study_instance_uid: str, origin_id: str) -> tuple[str, ...]:
    """The image sets of a study, by a search of its data store.

    Raises:
        InvalidPayloadError: the archive has no image sets.
        StudyNotFoundError: it does not hold the study.
    """
    if origin_id not in site.origins:
        raise InvalidPayloadError("--origin: not in ORIGINS")
    study = site.origins[origin_id].search_for_study(study_instance_uid)
    found = [one.pointer.image_set_id for one in study.series]
    if None in found:
        raise InvalidPayloadError("--origin: has no image sets; only a data store's can be purged")
    return tuple(one for one in found if one is not None)


def purge(
    site: Site,
    actor: Actor,
    *,
    origin_id: str,
    image_set_ids: tuple[str, ...],
    nodes: tuple[str, ...],
    study_instance_uid: str | None,
    now: datetime,
) -> int:
    """Order nodes to forget image sets for good; how many orders were sent.

    Raises:
        InvalidPayloadError: a node is not in the routing.
    """
    queues = site.settings.routing.nodes
    for node in nodes:
        if node not in queues:
            raise InvalidPayloadError("--node: not in ROUTING.nodes")
    orders = [
        PurgeOrder.parse({"node": node, "origin_id": origin_id, "image_set_id": image_set_id})
        for node in nodes or tuple(queues)
        for image_set_id in image_set_ids
    ]
    about: dict[str, Any] = {"study_instance_uid": study_instance_uid, "origin_id": origin_id}
    record(site, actor, f"purge of {len(image_set_ids)} image sets", now=now, **about)
    with in_our_words("orders queue"):
        sqs = client("sqs")
        for order in orders:
            sqs.send_message(QueueUrl=queues[order.node], MessageBody=order.model_dump_json())
    return len(orders)


def drain(site: Site, actor: Actor, node: str, *, now: datetime) -> None:
    """Send a node no more orders; those in its queue are still carried out.

    Raises:
        InvalidPayloadError: the node is not in the routing.
    """
    _known(site, node)
    site.nodes.drain(node, by=actor.by, reason=actor.reason, at=now)
    record(site, actor, f"drain of {node}", now=now, node=node)


def undrain(site: Site, actor: Actor, node: str, *, now: datetime) -> None:
    """Send a node orders again; raises as `drain` does."""
    _known(site, node)
    site.nodes.undrain(node)
    record(site, actor, f"end of the drain of {node}", now=now, node=node)


def wait_until_empty(
    site: Site,
    node: str,
    *,
    within_s: float,
    say: Say,
    now: Callable[[], datetime],
    sleep: Callable[[float], None],
) -> None:
    """Return when a node's queue holds nothing any more.

    Raises:
        DeadlineExceededError: it holds orders still.
    """
    ends = now() + timedelta(seconds=within_s)
    while True:
        waiting, under_way = queue_depth(site.settings.routing.nodes[node])
        if not waiting and not under_way:
            return
        say(f"{node}: {waiting} orders wait, {under_way} are under way")
        if now() >= ends:
            raise DeadlineExceededError(f"--wait: {node} holds {waiting + under_way} orders still")
        sleep(2)


def record(
    site: Site,
    actor: Actor,
    what: str,
    *,
    now: datetime,
    outcome: RunOutcome = "done",
    **about: Any,
) -> None:
    """Write down who did what, and why."""
    known = {name: value for name, value in about.items() if value is not None}
    site.runs.record(
        Run(
            run_id="command-" + digest_of(what, actor.by, now.isoformat()),
            kind="command",
            at=now,
            outcome=outcome,
            cause=what,
            by=actor.by,
            reason=actor.reason,
            **known,
        )
    )


def alone_without(site: Site, node: str) -> tuple[str, ...]:
    """The reading locations that have no other node that takes orders."""
    drained = site.nodes.drained() | {node}
    locations = site.settings.routing.locations
    return tuple(
        location
        for location, nodes in locations.items()
        if node in nodes and drained.issuperset(nodes)
    )


def _known(site: Site, node: str) -> None:
    if node not in site.settings.routing.nodes:
        raise InvalidPayloadError("NODE: not in ROUTING.nodes")
