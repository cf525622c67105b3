"""What audit and policy cost: `python -m tests.benchmarks.audit --json`.

Runs of each figure are interleaved; medians are printed.
"""

import argparse
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from teleprefetch.domain.policy.access import Circumstances
from teleprefetch.domain.policy.readings import access_of
from teleprefetch.edge.audit.lane import Lane
from teleprefetch.edge.audit.log import AuditLog
from teleprefetch.edge.audit.reading import verify
from teleprefetch.edge.policy.engine import CedarPolicies
from teleprefetch.edge.policy.files import read_policies
from teleprefetch.edge.policy.gatekeeper import Asked, Gatekeeper
from teleprefetch.edge.policy.reading_list import ReadingList
from tests.audit_builders import LANE, NODE, a_record
from tests.benchmarks.spread import spread
from tests.policy_builders import STUDY, a_principal, a_reading

RECORDS = 30_000
_LATER = datetime(2100, 1, 1, tzinfo=UTC)


def submitted(log: AuditLog) -> dict[str, float]:
    """Records that a loop submits without waiting for each: throughput and CPU."""
    record = a_record()
    ended = threading.Semaphore(0)
    groups = log.groups
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(RECORDS - 1):
        log.submit(record, lambda _error: None)
    log.submit(record, lambda _error: ended.release())
    ended.acquire()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "submit_records_s": RECORDS / wall,
        "submit_cpu_us": cpu / RECORDS * 1e6,
        "submit_records_in_group": RECORDS / max(1, log.groups - groups),
    }


def committed(log: AuditLog, threads: int, each: int) -> dict[str, float]:
    """Records that threads wait for, one after the other."""
    took: list[float] = []

    def work() -> None:
        for _ in range(each):
            begun = time.perf_counter()
            log.commit(a_record())
            took.append(time.perf_counter() - begun)

    groups, wall = log.groups, time.perf_counter()
    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    wall = time.perf_counter() - wall
    took.sort()
    name = f"commit_{threads}_threads"
    return {
        f"{name}_records_s": len(took) / wall,
        f"{name}_p50_us": took[len(took) // 2] * 1e6,
        f"{name}_p99_us": took[len(took) * 99 // 100] * 1e6,
        f"{name}_records_in_group": len(took) / (log.groups - groups),
    }


def each_us(what: Callable[[], object], times: int) -> float:
    """Microseconds of one call."""
    begun = time.perf_counter()
    for _ in range(times):
        what()
    return (time.perf_counter() - begun) / times * 1e6


def decided(folder: Path) -> dict[str, float]:
    """What a decision costs, evaluated and remembered."""
    readings = ReadingList(folder / "readings.sqlite")
    readings.put(a_reading(ends_at=_LATER))
    policies = CedarPolicies(read_policies())
    gate = Gatekeeper(policies, readings=readings, node=NODE, locations=("home",), remember_s=60)
    who = a_principal(ends_at_s=_LATER.timestamp())
    asked = Asked(principal=who, action="frames", study=STUDY, client="10.0.0.7")
    at = Circumstances(datetime.now(UTC), "10.0.0.7")
    resources = access_of(STUDY, readings.of_study(STUDY), locations=("home",))
    gate.admit(asked)
    figures = {
        "policy_load_ms": each_us(read_policies, 5) / 1e3,
        "cedar_evaluate_us": each_us(
            lambda: policies.decide_all(who, "frames", resources, at), 1000
        ),
        "cedar_evaluate_of_100_us": each_us(
            lambda: policies.decide_all(who, "frames", resources * 100, at), 20
        )
        / 100,
        "reading_list_us": each_us(lambda: readings.of_study(STUDY), 2000),
        "remembered_decision_us": each_us(lambda: gate.admit(asked), 50_000),
    }
    readings.close()
    return figures


def run_once() -> dict[str, float]:
    """All figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = AuditLog(Lane(folder / "audit", node=NODE, name=LANE))
        figures = submitted(log)
        for threads in (1, 8, 64):
            figures |= committed(log, threads, 1600 // threads)
        log.close()
        begun = time.perf_counter()
        verdict = verify(folder / "audit", checkpoints={}, is_signed=None)
        figures["verify_us"] = (time.perf_counter() - begun) / verdict.records * 1e6
        return figures | decided(folder)


def main() -> None:
    """Print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    runs = [run_once() for _ in range(options.runs)]
    medians = {name: round(statistics.median(run[name] for run in runs), 2) for name in runs[0]}
    if options.json:
        spreads = {name: spread(run[name] for run in runs) for name in runs[0]}
        print(json.dumps({**medians, "runs": options.runs, "spread": spreads}, indent=2))
        return
    for name, value in medians.items():
        print(f"{name:<40}{value:>14,.2f}")


if __name__ == "__main__":
    main()
