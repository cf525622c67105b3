"""Measures what ranking and explaining cost, from 100 to 100,000 priors.

    uv run python -m tests.benchmarks.relevance_speed [--sizes 100 1000 10000]

Every prior has a description of its own, so that nothing is remembered from another; the caches
are emptied before each run, and the studies are kept out of the garbage collector's rounds.
"""

import argparse
import gc
import random
import time
from collections.abc import Sequence

from teleprefetch.domain import describe, exam
from teleprefetch.domain.explain import explain
from teleprefetch.domain.relevance import rank_priors
from teleprefetch.model import PatientKey, StudyRecord

_KINDS = ("CT", "MRI", "XR", "US", "NM", "MAM")
_PLACES = ("CHEST", "ABD/PEL", "KNEE LT", "KNEE RT", "BRAIN", "LUMBAR SPINE", "HAND RT", "")


def a_patient(priors: int) -> tuple[StudyRecord, list[StudyRecord]]:
    """A current study and so many priors, each described in its own words."""
    chance = random.Random(priors)  # noqa: S311
    studies = [
        StudyRecord(
            study_instance_uid=f"1.2.826.{number}",
            patient=PatientKey(patient_id="P", issuer_of_patient_id="H"),
            study_description=(
                f"{chance.choice(_KINDS)} {chance.choice(_PLACES)} W/O CNTRST {number:x}"
            ),
            study_date=f"{chance.randint(2005, 2025)}{chance.randint(1, 12):02}15",
        )
        for number in range(1, priors + 2)
    ]
    current = studies[0].model_copy(
        update={"study_description": "CT CHEST ABD PELVIS W CON", "study_date": "20260101"}
    )
    return current, studies[1:]


def _forget() -> None:
    for cached in (describe.read, describe._word, exam._exam, exam.day_of):
        cached.cache_clear()
    gc.collect()
    gc.freeze()


def seconds_for(priors: int) -> tuple[float, float]:
    """CPU seconds to rank, and to rank, plan and explain."""
    current, studies = a_patient(priors)
    rank_priors(current, studies[:1], now=None)
    spent = []
    for work in (
        lambda: rank_priors(current, studies, now=None),
        lambda: explain(current, studies, budget_bytes=600_000_000),
    ):
        _forget()
        started = time.process_time()
        work()
        spent.append(time.process_time() - started)
    return spent[0], spent[1]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one line for each size."""
    parser = argparse.ArgumentParser(prog="relevance_speed", description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1_000, 10_000, 100_000])
    parser.add_argument("--without-collector", action="store_true", help="the algorithm alone")
    chosen = parser.parse_args(arguments)
    if chosen.without_collector:
        gc.disable()
    print("  priors   rank s  explain s  rank us each  explain us each")
    for priors in chosen.sizes:
        rank_s, explain_s = seconds_for(priors)
        print(
            f"{priors:8} {rank_s:8.3f} {explain_s:10.3f} "
            f"{rank_s / priors * 1e6:13.1f} {explain_s / priors * 1e6:16.1f}"
        )


if __name__ == "__main__":
    main()
