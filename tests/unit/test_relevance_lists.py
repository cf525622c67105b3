"""domain.relevance: what the ranking earns on the labelled lists, so that no change loses it."""

from pathlib import Path

import pytest

from teleprefetch.domain.rules import DEFAULT_RULES
from tests.benchmarks.relevance import evaluate, read_labels

DATA = Path(__file__).parents[1] / "data"
LISTS = ("relevance_labels.csv", "relevance_labels_blind.csv", "relevance_labels_blind_2.csv")


@pytest.mark.parametrize("split", ["tune", "held"])
@pytest.mark.parametrize("name", LISTS)
def test_the_ranking_keeps_what_it_earned(name: str, split: str) -> None:
    labels = read_labels(DATA / name, split=split)

    report, _ = evaluate(labels, rules=DEFAULT_RULES, budget_mb=600)

    assert report["ndcg_10"] >= 0.97
    assert report["p_1"] >= 0.97
    assert report["roc_auc"] >= 0.975
    assert report["accuracy"] >= 0.94
    assert report["left_right_mistakes"] == 0
    assert report["budget"]["relevant_warmed"] >= 0.76
    assert report["budget"]["bytes_wasted"] <= 0.15


def test_the_halves_share_no_study() -> None:
    for name in LISTS:
        tune, held = (read_labels(DATA / name, split=split) for split in ("tune", "held"))

        assert tune
        assert held
        assert {key.split("\0")[0] for key in tune}.isdisjoint({key.split("\0")[0] for key in held})


def test_a_list_without_a_needed_column_ends_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("case_id,relevant\n1,1\n", "utf-8")

    with pytest.raises(SystemExit, match="columns are missing: current_study_id"):
        read_labels(tmp_path / "labels.csv")
