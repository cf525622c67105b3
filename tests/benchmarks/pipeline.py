"""How long the pipeline takes: `uv run python -m tests.benchmarks.pipeline --json`.

`rank_10000_priors_s`: ranking 10,000 priors with reasons, median of five.
`event_to_first_byte_s`: from the import event that starts a prefetch to the first frame asked of
the data store. `event_to_warm_s`: from that event to the recorded, proven outcome.
`bytes_over_bandwidth_ratio`: the latter over what the bytes alone take on the limited link.
"""

import argparse
import json
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import boto3

from teleprefetch import runtime
from teleprefetch.domain.relevance import rank_priors
from teleprefetch.local import demo_input
from teleprefetch.local.stack import LocalStack, StackOptions
from teleprefetch.model import PatientKey, SeriesPointer, SeriesRecord, StudyRecord
from tests.benchmarks.spread import spread

DESCRIPTIONS = (
    ("CT CHEST W CONTRAST", "CT", "CHEST"),
    ("XR CHEST PA AND LATERAL", "CR", "CHEST"),
    ("CT ABD/PEL W", "CT", "ABDOMEN"),
    ("MRI BRAIN WO", "MR", "BRAIN"),
    ("XR KNEE LT 3V", "DX", "KNEE"),
    ("US ABDOMEN COMPLETE", "US", "ABDOMEN"),
    ("OUTSIDE FILMS", "OT", ""),
    ("MAMMO SCREENING BILAT", "MG", "BREAST"),
    ("PET CT SKULL TO THIGH", "PT", ""),
    ("Thorax^RÖNTGEN p.a.", "DX", "THORAX"),
)
WITHIN_S = 120


class Warmed(NamedTuple):
    """What one run of the stack took; seconds on one clock."""

    first_byte_s: float
    warm_s: float
    bytes_warmed: int


def a_study(number: int, chance: random.Random) -> StudyRecord:
    description, modality, body_part = chance.choice(DESCRIPTIONS)
    uid = f"1.2.826.0.1.{number}"
    series = SeriesRecord(
        pointer=SeriesPointer(study_instance_uid=uid, series_instance_uid=f"{uid}.1"),
        modality=modality,
        body_part_examined=body_part,
    )
    day = date(2026, 11, 24) - timedelta(days=chance.randrange(1, 7000))
    return StudyRecord(
        study_instance_uid=uid,
        patient=PatientKey(patient_id="P"),
        study_date=f"{day:%Y%m%d}",
        study_description=f"{description} {chance.randrange(50)}",
        modalities_in_study=(modality,),
        series=(series,),
    )


def ranking_s(priors: int) -> float:
    chance = random.Random(1)  # noqa: S311 - the same studies each time
    current = a_study(0, chance).model_copy(update={"study_date": "20261124"})
    candidates = [a_study(number, chance) for number in range(1, priors + 1)]

    def once() -> float:
        began = time.perf_counter()
        rank_priors(current, candidates, now=date(2026, 11, 24))
        return time.perf_counter() - began

    return statistics.median(once() for _ in range(5))


def warming(bandwidth_mbit_s: float) -> Warmed:
    """Import a history, then the current study, over a link of that width."""
    options = StackOptions(bandwidth_bps=int(bandwidth_mbit_s * 1e6))
    with tempfile.TemporaryDirectory() as folder, LocalStack(options) as stack:
        given = demo_input.made_up(Path(folder) / "s", today=datetime.now(UTC).date(), scale=1)
        s3, client = boto3.client("s3"), boto3.client("medical-imaging")
        demo_input.import_files(given.history, name="history", s3=s3, client=client)
        machine = stack.aws.outputs["ImportMachineArn"]
        _until(lambda: not _running(machine), "the history's imports to end")
        before = {one["executionArn"] for one in _executions(machine)}
        stack.data_store.request_log.clear()
        demo_input.import_files(given.current, name="current", s3=s3, client=client)
        prefetch = stack.aws.outputs["PrefetchMachineArn"]
        _until(lambda: _executions(prefetch) and not _running(prefetch), "the study to be warm")
        began = min(
            one["startDate"] for one in _executions(machine) if one["executionArn"] not in before
        )
        return _measured(stack, began.timestamp())


def _measured(stack: LocalStack, began: float) -> Warmed:
    to_wall = time.time() - time.monotonic()
    entries = stack.data_store.request_log.entries()
    first_frame = next(entry for entry in entries if entry.operation == "GetImageFrame")
    names = [one["name"] for one in _executions(stack.aws.outputs["PrefetchMachineArn"])]
    outcomes = [outcome for name in names if (outcome := runtime.outcomes().outcome(name))]
    whole = max(outcomes, key=lambda outcome: outcome.counts["frames_planned"])
    if whole.state != "warm":
        raise RuntimeError(f"the study is {whole.state}: {whole.cause}")
    return Warmed(
        first_byte_s=first_frame.at_s + to_wall - began,
        warm_s=whole.recorded_at.timestamp() - began,
        bytes_warmed=whole.counts["bytes_warmed"],
    )


def _executions(machine: str) -> list[Any]:
    return list(
        boto3.client("stepfunctions").list_executions(stateMachineArn=machine)["executions"]
    )


def _running(machine: str) -> bool:
    return any(one["status"] == "RUNNING" for one in _executions(machine))


def _until(condition: Callable[[], Any], what: str) -> None:
    for _ in _looking():
        if condition():
            return
    raise TimeoutError(f"waited {WITHIN_S} s for {what}")


def _looking() -> Iterator[None]:
    ends = time.monotonic() + WITHIN_S
    while time.monotonic() < ends:
        yield
        time.sleep(0.02)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--bandwidth-mbit", type=float, default=20)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    runs = [warming(options.bandwidth_mbit) for _ in range(options.runs)]
    bandwidth_bytes_s = options.bandwidth_mbit * 1e6 / 8
    figures = {
        "rank_10000_priors_s": ranking_s(10_000),
        "event_to_first_byte_s": statistics.median(run.first_byte_s for run in runs),
        "event_to_warm_s": statistics.median(run.warm_s for run in runs),
        "bytes_over_bandwidth_ratio": statistics.median(
            run.warm_s / (run.bytes_warmed / bandwidth_bytes_s) for run in runs
        ),
    }
    about: dict[str, Any] = {
        "bytes_warmed": runs[0].bytes_warmed,
        "bandwidth_mbit_s": options.bandwidth_mbit,
        "runs": options.runs,
        "spread": {
            "event_to_first_byte_s": spread(run.first_byte_s for run in runs),
            "event_to_warm_s": spread(run.warm_s for run in runs),
            "bytes_over_bandwidth_ratio": spread(
                run.warm_s / (run.bytes_warmed / bandwidth_bytes_s) for run in runs
            ),
        },
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
    }
    rounded = {name: round(value, 3) for name, value in figures.items()}
    if options.json:
        print(json.dumps(rounded | about))
    else:
        for name, value in (rounded | about).items():
            print(f"{name:<28}{value}")


if __name__ == "__main__":
    main()
