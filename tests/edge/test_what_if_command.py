"""`teleprefetch what-if`: a rule file over past prefetches, with figures made by hand."""

import json
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws
from typer.testing import CliRunner

from teleprefetch.cli import app
from teleprefetch.domain.counterfactual import Figures, Past, replay_rules
from teleprefetch.domain.rules import DEFAULT_RULES, parse_rules
from teleprefetch.edge.audit.lane import Lane
from teleprefetch.edge.audit.log import AuditLog
from teleprefetch.model import PatientKey, SeriesPointer, SeriesRecord, StudyRecord
from teleprefetch.prefetch import Candidates
from tests.audit_builders import NODE, START, a_record

RUNNER = CliRunner()
NEVER_FILMS = '[[warm]]\nname = "no films"\nprior_modality = "XR"\nnever = true\n'


def a_study(number: int, description: str, *, on: str, size: int = 1) -> StudyRecord:
    uid = f"1.2.{number}"
    pointer = SeriesPointer(study_instance_uid=uid, series_instance_uid=f"{uid}.1")
    return StudyRecord(
        study_instance_uid=uid,
        patient=PatientKey(patient_id="P"),
        study_description=description,
        study_date=on,
        series=(SeriesRecord(pointer=pointer, number_of_instances=size),),
    )


CURRENT = a_study(1, "CT CHEST", on="20261101", size=10)
SCAN = a_study(2, "CT CHEST W CON", on="20260101", size=10)
FILM = a_study(3, "XR CHEST 2V", on="20260601", size=2)
FOOT = a_study(4, "XR FOOT", on="20100101", size=2)
ENTIRE = Candidates(current=CURRENT, others=(SCAN, FILM, FOOT))
FILMLESS = Candidates(current=CURRENT, others=(SCAN,))


def past(*every: Candidates) -> list[Past]:
    day = START.date()
    return [Past(prefetch_id=f"p-{n}", on=day, candidates=one) for n, one in enumerate(every)]


def test_the_rules_agree_with_figures_made_by_hand() -> None:
    told = replay_rules(
        past(ENTIRE, FILMLESS),
        old=DEFAULT_RULES,
        new=parse_rules(NEVER_FILMS),
        budget_bytes=10**9,
        opened={SCAN.study_instance_uid, FILM.study_instance_uid},
    )

    assert told.prefetches == 2
    assert (told.before.priors_planned, told.after.priors_planned) == (3, 2)
    assert (told.before.opened_warm, told.before.opened_cold) == (3, 0)
    assert (told.after.opened_warm, told.after.opened_cold) == (2, 1)
    assert (told.before.unopened_bytes, told.after.unopened_bytes) == (0, 0)
    [change] = told.changes
    assert change.prefetch_id == "p-0"
    assert [one.seen.study_instance_uid for one in change.effect.leaves] == ["1.2.3"]
    film_bytes = change.effect.leaves[0].planned_bytes
    assert film_bytes > 0
    assert told.before.planned_bytes - told.after.planned_bytes == film_bytes


def test_what_nobody_opened_is_counted_as_waste_of_the_rules_that_planned_it() -> None:
    told = replay_rules(
        past(ENTIRE),
        old=DEFAULT_RULES,
        new=parse_rules(NEVER_FILMS),
        budget_bytes=10**9,
        opened={SCAN.study_instance_uid},
    )

    [change] = told.changes
    film_bytes = change.effect.leaves[0].planned_bytes
    assert (told.before.unopened_bytes, told.after.unopened_bytes) == (film_bytes, 0)


def test_the_same_rules_change_nothing() -> None:
    told = replay_rules(
        past(ENTIRE), old=DEFAULT_RULES, new=DEFAULT_RULES, budget_bytes=10**9, opened=()
    )

    assert told.before == told.after
    assert told.changes == ()


def test_no_past_is_no_figures() -> None:
    told = replay_rules([], old=DEFAULT_RULES, new=DEFAULT_RULES, budget_bytes=1, opened=())

    assert (told.prefetches, told.before) == (0, Figures())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, candidates in enumerate((ENTIRE, FILMLESS)):
        path = tmp_path / "documents" / "prefetch" / f"p-{number}" / "candidates.json"
        path.parent.mkdir(parents=True)
        path.write_text(candidates.model_dump_json())
        time_s = (START + timedelta(days=number)).timestamp()
        os.utime(path, (time_s, time_s))
    (tmp_path / "new.toml").write_text(NEVER_FILMS)
    log = AuditLog(Lane(tmp_path / "audit", node=NODE, name="serve-0"))
    log.commit(a_record(study=FILM.study_instance_uid, frames="1"))
    log.close()
    return tmp_path


def run(*arguments: object) -> Any:
    return RUNNER.invoke(app, ["what-if", *map(str, arguments)], env={"COLUMNS": "120"})


def test_a_folder_of_documents_and_an_audit_give_the_figures(folder: Path) -> None:
    result = run(
        folder / "documents", "--rules", folder / "new.toml", "--audit", folder / "audit", "--json"
    )

    document = json.loads(result.stdout)
    assert document["prefetches"] == 2
    assert (document["before"]["opened_warm"], document["after"]["opened_warm"]) == (1, 0)
    assert document["after"]["opened_cold"] == 1
    assert [one["prefetch_id"] for one in document["changes"]] == ["p-0"]


def test_the_table_tells_what_differs(folder: Path) -> None:
    result = run(folder / "documents", "--rules", folder / "new.toml")

    assert result.exit_code == 0
    assert "2 prefetches" in result.output
    assert "1 plans differ" in result.output
    assert "1 leave" in result.output
    assert "opened" not in result.output


def test_times_choose_the_prefetches(folder: Path) -> None:
    until = (START + timedelta(hours=1)).isoformat()

    result = run(folder / "documents", "--rules", folder / "new.toml", "--until", until, "--json")

    assert json.loads(result.stdout)["prefetches"] == 1


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket="documents")
        yield client


def test_the_bucket_itself_is_read(folder: Path, bucket: Any) -> None:
    body = ENTIRE.model_dump_json().encode()
    bucket.put_object(Bucket="documents", Key="prefetch/p-7/candidates.json", Body=body)
    bucket.put_object(Bucket="documents", Key="prefetch/p-7/plan.json", Body=b"{}")

    result = run("s3://documents", "--rules", folder / "new.toml", "--json")

    assert [one["prefetch_id"] for one in json.loads(result.stdout)["changes"]] == ["p-7"]


def test_a_damaged_document_is_named_and_not_passed_over(folder: Path) -> None:
    (folder / "documents/prefetch/p-1/candidates.json").write_text('{"current":')

    result = run(folder / "documents", "--rules", folder / "new.toml")

    assert result.exit_code == 1
    assert "p-1/candidates.json" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["nothing", "--rules", "new.toml"], "documents"),
        (["documents", "--rules", "none.toml"], "--rules"),
        (["documents", "--rules", "new.toml", "--since", "soon"], "--since"),
    ],
)
def test_what_is_wrong_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], named: str
) -> None:
    monkeypatch.chdir(folder)

    result = run(*arguments)

    assert result.exit_code == 2
    assert named in result.stderr
