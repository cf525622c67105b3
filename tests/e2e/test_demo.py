"""`teleprefetch demo` as a newcomer runs it: a process of its own, judged by what it prints."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from tests.archive_files import NAMESAKE_ID, PATIENT_ID, real_corpus
from tests.orthanc import run_orthanc, store

COMMAND = Path(sys.executable).parent / "teleprefetch"


class Ran(NamedTuple):
    exit_code: int
    stdout: str
    stderr: str

    @property
    def result(self) -> dict[str, Any]:
        assert self.exit_code == 0, self.stderr[-3000:]
        return dict(json.loads(self.stdout))


def demo(*options: str) -> Ran:
    ran = subprocess.run(
        [COMMAND, "demo", *options], capture_output=True, text=True, timeout=170, check=False
    )
    return Ran(ran.returncode, ran.stdout, ran.stderr)


def assert_all_is_proven(result: dict[str, Any]) -> None:
    assert result["frames_verified"] == result["frames_warmed"] == result["frames_planned"] > 0
    assert result["frames_differing"] == 0
    assert result["notices"] == 1
    assert_only_the_assigned_reader_read(result)


def assert_only_the_assigned_reader_read(result: dict[str, Any]) -> None:
    """Everything with the reader's token, nothing without, each answer once in a sound audit."""
    access = result["access"]
    for others in ("unassigned", "without_token"):
        assert access[others]["asked"] > 0
        assert access[others]["given"] == 0
    audit = access["audit"]
    assert audit["problems"] == []
    assert audit["given"] == audit["recorded_once"] == result["frames_compared"]
    assert audit["records"] > audit["given"] + access["unassigned"]["asked"]


def test_the_demo_ends_with_a_warm_notice_well_before_its_deadline() -> None:
    result = demo("--json").result

    assert_all_is_proven(result)
    assert result["outcome"] == result["notice"]["reason"] == "warm"
    assert result["notice"]["released_at"] < result["notice"]["deadline"]
    assert result["frame_requests"] == result["frames_planned"]
    ranks = [prior["rank"] for prior in result["priors"]]
    assert ranks == list(range(1, len(ranks) + 1))
    assert len(ranks) >= 8
    assert all(prior["reasons"] for prior in result["priors"])
    knees = [prior for prior in result["priors"] if "KNEE" in str(prior["reasons"])]
    assert len(knees) == 2
    assert not any(prior["warm"] for prior in knees)


def test_a_node_that_is_killed_half_way_gives_one_partial_notice_and_resumes() -> None:
    result = demo(
        "--json", "--kill-node", "--bandwidth-mbit", "40", "--deadline-s", "12", "--scale", "0.5"
    ).result

    assert_all_is_proven(result)
    notice = result["notice"]
    assert notice["reason"] == "partial"
    assert notice["why"].startswith("deadline reached; ")
    assert "node-a last heard" in notice["why"]
    assert notice["released_at"] <= notice["deadline"]
    asked_again = result["frame_requests"] - result["frames_planned"]
    # a third was proven when the node was killed, and is not asked for again
    assert asked_again <= result["frames_unproven_at_kill"] <= 2 * result["frames_planned"] / 3


def test_a_users_own_folder_of_real_studies_is_warmed_and_a_namesakes_study_is_not(
    tmp_path: Path,
) -> None:
    corpus, folder = real_corpus(tmp_path), tmp_path / "own"
    folder.mkdir()
    for number, file in enumerate(corpus.files):
        shutil.copy(file.path, folder / f"IM{number}")
    named = corpus.study_uids(PatientID=PATIENT_ID)
    assert len(named) >= 3

    result = demo("--json", "--dicom", str(folder)).result

    assert_all_is_proven(result)
    assert result["notice"]["reason"] == "warm"
    seen = {prior["study_instance_uid"] for prior in result["priors"]}
    assert seen < named
    assert len(seen) == len(named) - 1
    assert not seen & corpus.study_uids(PatientID=NAMESAKE_ID)


def test_a_real_dicomweb_archive_is_warmed_from(tmp_path: Path) -> None:
    corpus = real_corpus(tmp_path)
    directory = tmp_path / "orthanc"
    directory.mkdir()
    with run_orthanc(directory) as url:
        store(url, [file.path for file in corpus.files])
        result = demo("--json", "--origin", "dicomweb", "--url", url).result

    assert_all_is_proven(result)
    assert result["notice"]["reason"] == "warm"
    named = corpus.study_uids(PatientID=PATIENT_ID)
    assert {prior["study_instance_uid"] for prior in result["priors"]} < named


def test_what_cannot_be_used_is_told_by_the_name_of_the_option(tmp_path: Path) -> None:
    for options, named in (
        (["--dicom", str(tmp_path / "nothing")], "folder"),
        (["--origin", "dicomweb"], "--url"),
        (["--deadline-s", "0"], "--deadline-s"),
    ):
        ran = demo("--json", *options)
        assert (ran.exit_code, ran.stdout) == (2, "")
        assert named in ran.stderr
