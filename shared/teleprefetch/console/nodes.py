"""The page `Nodes`: each node and each reading location, as `teleprefetch status` tells of them."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from starlette.responses import Response

from teleprefetch.console.asking import Asked
from teleprefetch.errors import NodeUnavailableError
from teleprefetch.operate.acts import alone_without
from teleprefetch.operate.site import Site
from teleprefetch.operate.status import queue_depth, readiness
from teleprefetch.run_records import Run, RunFilter

_LOOKED_THROUGH: Final = 200
_THREADS: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeTold:
    """A node; `used_bytes`, `limit_bytes` and `hit_rate` are None where it does not tell.

    `heard_at` is its newest word: an answer, or the end of an order.
    """

    node: str
    is_ready: bool | None
    told: str
    is_drained: bool
    heard_at: datetime | None
    orders_waiting: int
    orders_under_way: int
    used_bytes: int | None = None
    limit_bytes: int | None = None
    studies: int | None = None
    hit_rate: float | None = None
    why_no_fill: str = ""

    @property
    def share(self) -> float | None:
        """How full it is, from 0 to 1."""
        if self.used_bytes is None or not self.limit_bytes:
            return None
        return self.used_bytes / self.limit_bytes


def show(asked: Asked) -> Response:
    """Every node and every location."""
    site = asked.console.site
    drained = site.nodes.drained()
    newest = site.runs.find(RunFilter(kind="warm"), limit=_LOOKED_THROUGH)
    routing = site.settings.routing
    # each makes a client, and no boto3 session may be used in two threads (its guide, "Session")
    queues = {node: queue_depth(url) for node, url in routing.nodes.items()}
    with ThreadPoolExecutor(_THREADS) as several:
        every = several.map(
            lambda node: _node(site, node, queues[node], newest=newest, drained=drained), queues
        )
        told = {one.node: one for one in every}
    alone = {node: alone_without(site, node) for node in drained if node in routing.nodes}
    ready = {
        location: sum(told[node].is_ready is True for node in nodes)
        for location, nodes in routing.locations.items()
    }
    return asked.page(
        "nodes.html", nodes=told, locations=routing.locations, ready=ready, alone=alone
    )


def _node(
    site: Site,
    node: str,
    depth: tuple[int, int],
    *,
    newest: tuple[Run, ...],
    drained: frozenset[str],
) -> NodeTold:
    waiting, busy = depth
    is_ready, told = readiness(site, node)
    status, heard_at, why_not = _status(site, node, is_ready=is_ready)
    return NodeTold(
        node=node,
        is_ready=is_ready,
        told=told,
        is_drained=node in drained,
        heard_at=heard_at or _last_order(node, newest),
        orders_waiting=waiting,
        orders_under_way=busy,
        why_no_fill=why_not,
        **_figures(status),
    )


def _status(
    site: Site, node: str, *, is_ready: bool | None
) -> tuple[Mapping[str, Any], datetime | None, str]:
    """What a node says of itself, when, and why it does not."""
    if is_ready is None:
        return {}, None, "its address is not known (NODE_URLS)"
    try:
        answer = site.node_http.ask(node, "/status.json")
    except NodeUnavailableError as error:
        return {}, None, str(error)
    if answer.status == 200 and isinstance(answer.document, dict):
        return answer.document, answer.said_at, ""
    if answer.status in {401, 403, 404}:
        return {}, answer.said_at, "it tells operators alone (TELEPREFETCH_TOKEN_FILE)"
    return {}, answer.said_at, f"it answers {answer.status}"


def _figures(status: Mapping[str, Any]) -> dict[str, Any]:
    store, served = status.get("store", {}), status.get("served", {})
    return {
        "used_bytes": store.get("used_bytes"),
        "limit_bytes": store.get("limit_bytes"),
        "studies": store.get("studies"),
        "hit_rate": served.get("hit_rate"),
    }


def _last_order(node: str, newest: tuple[Run, ...]) -> datetime | None:
    ended = (run.ended_at for run in newest if run.node == node and run.outcome != "lost")
    return max((at for at in ended if at is not None), default=None)
