"""Measures the ranking against a list of labels.

    uv run python -m tests.benchmarks.relevance LABELS.csv[.gz] [--json] [--budget-mb 600]
        [--split held] [--ablate] [--misses]

Columns: case_id, current_study_id, current_description, current_date, prior_study_id,
prior_description, prior_date, relevant (0/1); optionally current_modality, prior_modality,
current_body_part, prior_body_part, prior_bytes, split. Others are ignored. Cases without a
relevant prior count for accuracy, F1 and AUC, not for nDCG@10 and P@1.
"""

import argparse
import csv
import gzip
import io
import json
import re
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from teleprefetch.domain.exam import exam_of
from teleprefetch.domain.plan import plan_warming
from teleprefetch.domain.relevance import rank_priors
from teleprefetch.domain.rules import DEFAULT_RULES, SiteRules
from teleprefetch.domain.sizes import size_of, study_bytes
from teleprefetch.model import PatientKey, SeriesPointer, SeriesRecord, StudyRecord
from tests.benchmarks.relevance_measures import Case, Pair, measures, warming

REQUIRED = (
    "case_id",
    "current_study_id",
    "current_description",
    "current_date",
    "prior_study_id",
    "prior_description",
    "prior_date",
    "relevant",
)
TERMS = ("anatomy", "modality", "side", "text", "contrast", "vessel", "procedure", "recency")
_SEPARATORS = re.compile(r"[\\/,;|]")
# Its own reading of sides, so that a side the ranking overlooks is still counted as its mistake.
_LEFT = frozenset((
    "left", "lt", "l", "lft", "links", "linkes", "li", "gauche", "gche", "izq", "izquierda",
    "izquierdo", "izda", "izdo", "izqda", "izqdo", "esq", "esquerda", "esquerdo", "sx", "sinistra",
    "sinistro",
))  # fmt: skip
_RIGHT = frozenset((
    "right", "rt", "r", "rgt", "rght", "rechts", "rechtes", "re", "droit", "droite", "drt",
    "derecha", "derecho", "dcha", "dcho", "direita", "direito", "dx", "destra", "destro",
))  # fmt: skip


def _opened(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return io.TextIOWrapper(gzip.open(path), encoding="utf-8-sig", errors="replace", newline="")
    return path.open(encoding="utf-8-sig", errors="replace", newline="")


def read_labels(path: Path, *, split: str | None = None) -> dict[str, list[dict[str, str]]]:
    """The rows of the list by case; a missing column ends the program with its name."""
    cases: dict[str, list[dict[str, str]]] = defaultdict(list)
    with _opened(path) as lines:
        rows = csv.DictReader(lines)
        missing = [name for name in REQUIRED if name not in (rows.fieldnames or ())]
        if missing:
            sys.exit(f"{path}: columns are missing: {', '.join(missing)}")
        for row in rows:
            if split is None or row.get("split") == split:
                cases[f"{row['case_id']}\0{row['current_study_id']}"].append(row)
    return cases


def _study(row: dict[str, str], side: str, uid: str) -> StudyRecord:
    modalities = tuple(_SEPARATORS.sub(" ", row.get(f"{side}_modality") or "").split())
    body_part = row.get(f"{side}_body_part") or ""
    size = row.get(f"{side}_bytes") or ""
    record = StudyRecord(
        study_instance_uid=uid,
        patient=PatientKey(patient_id="P"),
        study_description=row[f"{side}_description"] or "",
        study_date="".join(filter(str.isdigit, row[f"{side}_date"] or ""))[:8],
        modalities_in_study=modalities,
    )
    if side == "current":
        instances = 0
    elif size:
        group = exam_of(record).modality
        instance = size_of(group).instance_bytes
        instances = max(1, round(int(float(size)) / instance))
    else:
        instances = 0
    if side == "current" and not body_part:
        return record
    series = SeriesRecord(
        pointer=SeriesPointer(study_instance_uid=uid, series_instance_uid=f"{uid}.1"),
        body_part_examined=body_part,
        number_of_instances=instances,
    )
    return record.model_copy(update={"series": (series,)})


def judge(rows: Sequence[dict[str, str]], *, rules: SiteRules, budget_bytes: int) -> Case:
    """One case, ranked and planned."""
    current = _study(rows[0], "current", "1.2.1")
    priors = {
        study.study_instance_uid: (study, row)
        for number, row in enumerate(rows, start=2)
        for study in [_study(row, "prior", f"1.2.{number}")]
    }
    ranking = rank_priors(current, [study for study, _ in priors.values()], rules=rules, now=None)
    plan = plan_warming(
        current.model_copy(update={"series": ()}),
        ranking,
        prefetch_id="benchmark",
        origin_id="benchmark",
        budget_bytes=budget_bytes,
        rules=rules,
    )
    sides = _sides(current.study_description)
    pairs = []
    for ranked in ranking.priors:
        study, row = priors[ranked.study.study_instance_uid]
        opposite = {*sides, *_sides(study.study_description)}
        pairs.append(
            Pair(
                prior=study,
                is_relevant=row["relevant"].strip() in {"1", "1.0", "true", "True"},
                score=ranked.score,
                probability=ranked.probability,
                rank=ranked.rank,
                size_bytes=int(float(row.get("prior_bytes") or 0)) or study_bytes(study),
                is_opposite=len(sides) == 1
                and opposite == {"L", "R"}
                and len(_sides(study.study_description)) == 1,
            )
        )
    taken = frozenset(one.study_instance_uid for one in plan.priors if one.taken) - {
        one.study_instance_uid for one in plan.left_out
    }
    return Case(current, tuple(pairs), taken)


def _sides(description: str) -> frozenset[str]:
    words = "".join(c if c.isalnum() else " " for c in description.casefold()).split()
    return frozenset(
        side for side, names in (("L", _LEFT), ("R", _RIGHT)) if not names.isdisjoint(words)
    )


def evaluate(labels: dict[str, list[dict[str, str]]], *, rules: SiteRules, budget_mb: int | None):
    """The whole report as a document, and the cases it is over."""
    budget_bytes = (budget_mb or 10**9) * 1_000_000
    cases = [judge(rows, rules=rules, budget_bytes=budget_bytes) for rows in labels.values()]
    by_modality: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        by_modality[exam_of(case.current).modality or "unknown"].append(case)
    report: dict[str, object] = dict(measures(cases))
    report["by_modality"] = {name: measures(some) for name, some in sorted(by_modality.items())}
    if budget_mb is not None:
        report["budget"] = {"budget_mb": budget_mb, **warming(cases)}
    return report, cases


def _print(report: dict[str, object]) -> None:
    for name, value in report.items():
        if isinstance(value, dict):
            print(f"{name}:")
            for row, figures in value.items():
                if isinstance(figures, dict):
                    figures = "  ".join(f"{key} {_shown(each)}" for key, each in figures.items())
                    print(f"  {row:8} {figures}")
                else:
                    print(f"  {row:20} {_shown(figures)}")
        else:
            print(f"{name:20} {_shown(value)}")


def _shown(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _print_misses(cases: Sequence[Case]) -> None:
    for case in cases:
        for pair in case.pairs:
            if (pair.probability >= 0.5) != pair.is_relevant:
                print(
                    f"{'MISSED' if pair.is_relevant else 'WRONG '} {pair.probability:.2f} "
                    f"#{pair.rank} {case.current.study_description!r} <- "
                    f"{pair.prior.study_description!r}"
                )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the report on a list of labels."""
    parser = argparse.ArgumentParser(prog="relevance", description=__doc__.splitlines()[0])
    parser.add_argument("labels", type=Path)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--budget-mb", type=int)
    parser.add_argument("--split")
    parser.add_argument("--ablate", action="store_true", help="each term's worth in nDCG points")
    parser.add_argument("--misses", action="store_true", help="each pair on the wrong side of 0.5")
    chosen = parser.parse_args(arguments)
    labels = read_labels(chosen.labels, split=chosen.split)
    report, cases = evaluate(labels, rules=DEFAULT_RULES, budget_mb=chosen.budget_mb)
    if chosen.ablate:
        report["ablation"] = {
            term: {
                name: report[name] - without[name]
                for without in [evaluate(labels, rules=SiteRules(mute=(term,)), budget_mb=None)[0]]
                for name in ("ndcg_10", "p_1", "roc_auc")
            }
            for term in TERMS
        }
    if chosen.json:
        print(json.dumps(report, indent=2))
        return
    _print(report)
    if chosen.misses:
        _print_misses(cases)


if __name__ == "__main__":
    main()
