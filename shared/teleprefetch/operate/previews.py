"""What an act of an operator would do, by the stack as it is; nothing is done."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from teleprefetch.errors import InvalidPayloadError, PrefetchError
from teleprefetch.operate import acts
from teleprefetch.operate.reconciling import Reconciled, would_reconcile
from teleprefetch.operate.site import Site
from teleprefetch.operate.status import queue_depth


class Line(NamedTuple):
    """One thing that is, or would be, done; `subject` is a node, a study, a run or a number."""

    subject: str
    told: str


def known_node(site: Site, node: str) -> str:
    """The same node.

    Raises:
        InvalidPayloadError: it is not in the routing.
    """
    if node not in site.settings.routing.nodes:
        raise InvalidPayloadError("node: not in ROUTING.nodes")
    return node


def known_origin(site: Site, origin: str) -> str:
    """The same archive's id.

    Raises:
        InvalidPayloadError: it is not in the settings.
    """
    if origin not in site.settings.origins:
        raise InvalidPayloadError("origin: not in ORIGINS")
    return origin


def of_warm(
    site: Site, *, study_instance_uid: str, origin_id: str, reading_location: str
) -> tuple[Line, ...]:
    """Which nodes would be sent an order, and what they hold of the study already.

    Raises:
        InvalidPayloadError: the archive or the location is not in the settings.
    """
    known_origin(site, origin_id)
    nodes = site.settings.routing.nodes_of(reading_location)
    drained = site.nodes.drained()
    ordered = [node for node in nodes if node not in drained] or list(nodes)
    return tuple(
        Line(node, f"gets an order; {_held(site, node, study_instance_uid)}")
        if node in ordered
        else Line(node, "is drained, and gets none")
        for node in nodes
    )


def of_purge(
    site: Site, *, image_set_ids: Sequence[str], nodes: Sequence[str] = ()
) -> tuple[Line, ...]:
    """Which nodes would forget how many image sets.

    Raises:
        InvalidPayloadError: a node is not in the routing.
    """
    ordered = [known_node(site, node) for node in nodes or site.settings.routing.nodes]
    count = len(image_set_ids)
    return tuple(
        Line(node, f"forgets {count} image sets, and does not store them again for 30 days")
        for node in ordered
    )


def of_drain(site: Site, node: str) -> tuple[Line, ...]:
    """What becomes of a node's orders, and of the locations that it stands beside.

    Raises:
        InvalidPayloadError: the node is not in the routing.
    """
    queue_url = site.settings.routing.nodes[known_node(site, node)]
    waiting, under_way = queue_depth(queue_url)
    lines = [Line(node, f"gets no more orders; {waiting} wait and {under_way} are under way, which"
                  " it still carries out; what it holds is served")]  # fmt: skip
    alone = acts.alone_without(site, node)
    lines += [
        Line(one, f"has no other node that takes orders: its orders go to {node} all the same")
        for one in alone
    ]
    return tuple(lines)


def of_undrain(site: Site, node: str) -> tuple[Line, ...]:
    """That a node would get orders again; nothing if it does.

    Raises:
        InvalidPayloadError: the node is not in the routing.
    """
    is_drained = known_node(site, node) in site.nodes.drained()
    return (Line(node, "gets orders again"),) if is_drained else ()


def of_reconcile(site: Site, *, window_hours: int, now: datetime) -> tuple[Line, ...]:
    """How many imports would be started, and how many notices released."""
    counts, _found = would_reconcile(site, window_hours=window_hours, now=now)
    return swept(counts)


def swept(found: Reconciled) -> tuple[Line, ...]:
    """What the sweeps started and released, or would; what is nothing is left out."""
    counted = (
        (found.imports_started, "imports that have no outcome: started"),
        (found.image_sets_started, "changed image sets that have no outcome: started"),
        (found.notices_published, "notices past their deadline: released"),
    )
    return tuple(Line(str(count), told) for count, told in counted if count)


def _held(site: Site, node: str, study_instance_uid: str) -> str:
    try:
        frames = site.node_http.frames_held(node, study_instance_uid)
    except PrefetchError as error:
        return f"what it holds is not known ({error})"
    return f"it holds {frames} frames of the study, which are kept" if frames else "it holds none"
