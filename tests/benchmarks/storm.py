"""A storm of imports on a virtual clock: `uv run python -m tests.benchmarks.storm --json`.

10,000 imports in an hour, and 10,000 in a minute, against HealthImaging's default quotas, with live
readers at 20 % of each of them; how the figures grow is seen in a quarter of such an hour. The
scheduling and quota code is the shipped one (see `storm_world`). One unit of work stands for 8
frames, and the quota for frames is counted in units.

`warm_before_notice`: frames warm before their notice's deadline, over what any schedule could have
had within what readers leave of the quota for frames, in the hour, or until the minute's last
notice. `late_notices`: notices after their deadline; they go out when their order ends, or by a
timer that asks no node. `reader_throttles`: 429s that readers had. `frames_refetched`: frames
fetched twice. `fairness`: what the tenant that fared worst had, over its max-min fair share, within
an urgency that had a twentieth of all. `openings`: first frames of current studies warm before
their notice, of all. `most_queued_units`: the longest queue of a node.
`orders_cut_short` gave their place to others when nothing more of them could be in time,
`orders_in_vain` were told at once that waiting is in vain.
"""

import argparse
import json
import time
from collections import Counter
from typing import Any, Final

from teleprefetch.domain.scheduling import Operation
from tests.benchmarks.storm_load import UNIT_FRAMES, Import, fitting_units, imports, worst_share
from tests.benchmarks.storm_world import READERS_SHARE, World

IMPORTS: Final = 10_000
_HOUR_S: Final = 3600.0
_TOO_FEW: Final = 0.05
CONCURRENCY: Final = {1: 256, 10: 32, 100: 16}
RECOVERY: Final = (300.0, 900.0, 1200.0)
"""The archive throttles everything from the first to the second; the third is the end."""


def storm(
    found: list[Import], *, nodes: int, until_s: float | None = None
) -> tuple[dict[str, Any], World]:
    """Run imports against a world, and count until a moment, or the last notice; the figures."""
    began_s = time.perf_counter()
    world = World(nodes, CONCURRENCY[nodes])
    last_s = max(one.due_s for one in found)
    world.until_s = last_s if until_s is None else until_s
    for one in found:
        node = world.nodes[one.number % nodes]
        world.at(one.at_s, lambda one=one, node=node: node.arrives(one))
        world.at(one.due_s, lambda one=one: world.release(one))
    world.read_until(last_s)
    world.run(last_s)
    per_s = world.quotas[Operation.FRAME].per_second * (1 - READERS_SHARE)
    fits = fitting_units(found, per_s, world.until_s)
    opened = sum(sum(one.rank == 0 for one in each.template.planned) for each in found)
    return {
        "imports": len(found),
        "nodes": nodes,
        "warm_before_notice": round(world.counts["in_time"] / fits, 4),
        "frames_wanted": sum(one.units for one in found) * UNIT_FRAMES,
        "frames_that_fit": fits * UNIT_FRAMES,
        "late_notices": sum(world.released_s[one.number] > one.due_s for one in found),
        "reader_throttles": world.counts["reader_throttles"],
        "warming_throttles": world.counts["warming_throttles"],
        "frames_refetched": world.counts["refetched_units"] * UNIT_FRAMES,
        "fairness": round(fairness(found, world), 4),
        "openings": round(world.counts["openings_in_time"] / opened, 4),
        "most_queued_units": max(node.most_queued for node in world.nodes),
        "orders_cut_short": world.counts["orders_cut_short"],
        "orders_in_vain": world.counts["orders_in_vain"],
        "ledger_calls_per_s": round(world.ledger.calls / last_s, 1),
        "took_s": round(time.perf_counter() - began_s, 1),
    }, world


def fairness(found: list[Import], world: World) -> float:
    """The worst tenant's share within an urgency: a more urgent order goes first, whoever's."""
    worst = 1.0
    for priority in ("stat", "high", "routine"):
        had = {
            tenant: float(units)
            for (tenant, urgency), units in world.in_time.items()
            if urgency == priority
        }
        if sum(had.values()) < _TOO_FEW * sum(world.in_time.values()):
            continue
        wanted: Counter[str] = Counter()
        for one in found:
            if one.priority == priority and one.at_s < world.until_s:
                wanted[one.tenant] += one.units
        worst = min(worst, worst_share(had, {name: float(n) for name, n in wanted.items()}))
    return worst


def recovery() -> dict[str, Any]:
    """Ten minutes in which everything is throttled, and what comes after."""
    begins_s, ends_s, until_s = RECOVERY
    found = imports(IMPORTS * 3 * 20 // 60, until_s)
    world = World(10, CONCURRENCY[10])
    for one in found:
        node = world.nodes[one.number % 10]
        world.at(one.at_s, lambda one=one, node=node: node.arrives(one))
    world.read_until(until_s)

    def shut() -> None:
        world.shut_until_s = ends_s

    world.at(begins_s, shut)
    world.run(until_s)
    per_s = world.quotas[Operation.FRAME].per_second
    after = [world.attempts[second] for second in range(int(ends_s), int(until_s) - 1)]
    during = [world.attempts[second] for second in range(int(begins_s) + 60, int(ends_s))]
    return {
        "most_asked_after_over_limit": round(max(after) / per_s, 3),
        "asked_during_over_limit": round(sum(during) / len(during) / per_s, 3),
        "seconds_to_90_percent_of_warmings_share": _back_after(after, per_s),
        "reader_throttles_after": world.counts["reader_throttles"],
    }


def _back_after(after: list[int], per_s: float) -> int | None:
    for second in range(len(after) - 10):
        if sum(after[second : second + 10]) / 10 >= 0.9 * per_s:
            return second
    return None


def growth() -> list[dict[str, Any]]:
    """A quarter of the hour at 1, 3 and 10 times the load, on 1, 10 and 100 nodes."""
    found = []
    for times in (1, 3, 10):
        load = imports(IMPORTS * times // 4, _HOUR_S / 4)
        for nodes in (1, 10, 100):
            figures, _ = storm(load, nodes=nodes, until_s=_HOUR_S / 4)
            found.append({"load": times} | figures)
    return found


def main() -> None:
    """Print the figures; exit code 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--quick", action="store_true", help="without growth")
    options = parser.parse_args()
    hour, _ = storm(imports(IMPORTS, _HOUR_S), nodes=10, until_s=_HOUR_S)
    minute, _ = storm(imports(IMPORTS, 60), nodes=10)
    figures = {
        "hour": hour,
        "minute": minute,
        "recovery": recovery(),
        "growth": [] if options.quick else growth(),
    }
    print(json.dumps(figures) if options.json else json.dumps(figures, indent=1))
    raise SystemExit(0 if meets_bars(figures) else 1)


def meets_bars(figures: dict[str, Any]) -> bool:
    """Whether what is asked of the hour and the minute holds, and of readers everywhere."""
    asked = [figures["hour"], figures["minute"]]
    storms = [*asked, *figures["growth"]]
    return (
        all(one["warm_before_notice"] >= 0.95 for one in asked)
        and not any(one["late_notices"] or one["reader_throttles"] for one in storms)
        and figures["recovery"]["most_asked_after_over_limit"] < 1.5
    )


if __name__ == "__main__":
    main()
