"""`teleprefetch up` and `viewer`: what they refuse, and the link that opens a study."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pytest
from typer.testing import CliRunner

from teleprefetch.assignment import Notice, PriorWarmth
from teleprefetch.cli import app
from teleprefetch.errors import InvalidPayloadError
from teleprefetch.local.reading import viewer_link

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
NODE = "http://127.0.0.1:8080"


def prior(rank: int, warm: Literal["warm", "partial", "cold", "left out"]) -> PriorWarmth:
    return PriorWarmth(
        study_instance_uid=f"1.2.{rank}", rank=rank, score=60, reasons=("same region",), warm=warm
    )


def notice(*priors: PriorWarmth, study: str | None = "1.2.99") -> Notice:
    return Notice(
        assignment_id="a-1",
        prefetch_id="p-1",
        origin_id="archive",
        study_instance_uid=study,
        reading_location="home",
        reason="warm",
        why="all proven",
        released_at=NOW,
        deadline_at=NOW,
        current=None,
        priors=priors,
    )


def test_the_link_opens_the_study_beside_the_best_prior_that_is_warm() -> None:
    link = viewer_link(NODE, notice(prior(3, "warm"), prior(1, "cold"), prior(2, "warm")))

    assert link == (
        f"{NODE}/viewer?StudyInstanceUIDs=1.2.99,1.2.2&hangingProtocolId=@ohif/hpCompare"
    )


def test_without_a_warm_prior_the_link_opens_the_study_alone() -> None:
    for priors in ((), (prior(1, "left out"), prior(2, "partial"))):
        assert viewer_link(NODE, notice(*priors)) == f"{NODE}/viewer?StudyInstanceUIDs=1.2.99"


def test_a_notice_that_names_no_study_gives_no_link() -> None:
    with pytest.raises(InvalidPayloadError, match="names no study"):
        viewer_link(NODE, notice(study=None))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["up", "--samples", "--dicom", "."], "--samples and --dicom"),
        (["up", "--study", "1.2.3"], "--dicom"),
        (["up", "--viewer", "{empty}"], "--viewer"),
        (["viewer", "{empty}", "--archive", "{empty}/missing.tgz"], "archive"),
    ],
)
def test_what_cannot_be_used_is_told_by_the_name_of_the_option(
    tmp_path: Path, options: list[str], named: str
) -> None:
    given = [option.format(empty=tmp_path) for option in options]

    ran = CliRunner().invoke(app, given)

    assert ran.exit_code == 2
    assert named in ran.output
