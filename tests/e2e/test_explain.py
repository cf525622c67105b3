"""`teleprefetch explain` as an operator runs it: a process of its own, judged by what it prints."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import pytest
from moto import mock_aws

from teleprefetch.local.healthimaging import HealthImaging, Throttles
from teleprefetch.local.samples import write_samples
from tests.archive_files import NAMESAKE_ID, PATIENT_ID, ArchiveFile, Corpus, real_corpus
from tests.dicomweb_server import DicomwebServer, run_dicomweb_server
from tests.waiting import until

COMMAND = Path(sys.executable).parent / "teleprefetch"
DATASTORE = "0123456789abcdef0123456789abcdef"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_DISABLE_HOST_PREFIX_INJECTION": "true",
}
TODAY = date(2026, 11, 24)
ONE_CT = '[[warm]]\nname = "one-ct"\nprior_modality = "CT"\nmax_number = 1\n'
KNEES = '[[pairs]]\nname = "knees"\ncurrent_region = "CHEST"\nprior_region = "KNEE"\n'


class Ran(NamedTuple):
    exit_code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> dict[str, Any]:
        assert self.exit_code == 0, self.stderr[-3000:]
        return dict(json.loads(self.stdout))


def explain(*options: str | Path, **environment: str) -> Ran:
    ran = subprocess.run(
        [COMMAND, "explain", *options],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "COLUMNS": "80", **environment},
    )
    return Ran(ran.returncode, ran.stdout, ran.stderr)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made-up patient, with studies so small that they are written in a second."""
    folder = tmp_path_factory.mktemp("samples")
    write_samples(folder, today=TODAY, scale=0.05)
    return folder


@pytest.fixture(scope="module")
def archive(folder: Path) -> Iterator[DicomwebServer]:
    files = tuple(ArchiveFile(path) for path in sorted(folder.rglob("*.dcm")))
    with run_dicomweb_server(Corpus(files)) as server:
        yield server


@pytest.fixture(scope="module")
def data_store(folder: Path) -> Iterator[str]:
    """A data store that holds the folder's studies, by its address."""
    with pytest.MonkeyPatch.context() as environment, mock_aws():
        for name, value in CREDENTIALS.items():
            environment.setenv(name, value)
        environment.delenv("AWS_SESSION_TOKEN", raising=False)
        s3 = boto3.client("s3", region_name="us-east-1")
        s3.create_bucket(Bucket="dicom")
        for number, path in enumerate(sorted(folder.rglob("*.dcm"))):
            s3.put_object(Bucket="dicom", Key=f"in/{number:04}.dcm", Body=path.read_bytes())
        with HealthImaging(
            s3=s3,
            events=boto3.client("events", region_name="us-east-1"),
            datastore_id=DATASTORE,
            credentials={"local": "secret"},
            throttles=Throttles(),
        ) as service:
            client = boto3.client(
                "medical-imaging", region_name="us-east-1", endpoint_url=service.url
            )
            job = client.start_dicom_import_job(
                datastoreId=DATASTORE,
                dataAccessRoleArn="arn:aws:iam::123456789012:role/import",
                clientToken="explain",
                inputS3Uri="s3://dicom/in/",
                outputS3Uri="s3://dicom/out/",
            )["jobId"]
            until(
                lambda: (
                    client.get_dicom_import_job(datastoreId=DATASTORE, jobId=job)["jobProperties"][
                        "jobStatus"
                    ]
                    == "COMPLETED"
                ),
                "the import",
                within_s=60,
            )
            client.close()
            yield service.url


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    (tmp_path / "new.toml").write_text(ONE_CT + KNEES, "utf-8")
    return tmp_path / "new.toml"


def in_the_plan(document: dict[str, Any]) -> set[str]:
    return {
        prior["seen"]["study_instance_uid"]
        for prior in document["priors"]
        if prior["fate"] != "left out"
    }


def test_the_document_ranks_every_prior_and_its_terms_add_up(folder: Path) -> None:
    document = explain("--dicom", folder, "--json").document

    ranks = [prior["rank"] for prior in document["priors"]]
    assert ranks == list(range(1, len(ranks) + 1))
    assert len(ranks) >= 10
    for prior in document["priors"]:
        assert prior["terms"]
        points = sum(term["points"] for term in prior["terms"])
        assert prior["score"] == pytest.approx(points, abs=0.02)
        assert all(term["reason"] for term in prior["terms"])
        assert (prior["fate"] == "taken") == (prior["reason"] == "")
    first = document["priors"][0]["seen"]
    assert (first["modality"], first["regions"]) == ("CT", ["CHEST"])
    planned = sum(prior["planned_bytes"] for prior in document["priors"])
    assert planned + document["current_planned_bytes"] == document["planned_bytes"]
    assert document["planned_bytes"] <= document["budget_bytes"] == 2_000_000_000


def test_a_smaller_budget_leaves_out_more_and_says_so(folder: Path) -> None:
    whole = explain("--dicom", folder, "--json").document
    tight = explain("--dicom", folder, "--json", "--budget-mb", "40").document

    assert tight["planned_bytes"] <= tight["budget_bytes"] == 40_000_000
    assert in_the_plan(tight) < in_the_plan(whole)
    reasons = [prior["reason"] for prior in tight["priors"]]
    assert any(reason.startswith("budget: ") for reason in reasons)
    assert any(reason.startswith("below the floor: ") for reason in reasons)


def test_the_table_names_points_reasons_and_what_is_left_out_in_eighty_columns(
    folder: Path,
) -> None:
    told = explain("--dicom", folder, "--budget-mb", "40")

    assert told.exit_code == 0
    assert max(map(len, told.stdout.splitlines())) <= 80
    assert "read as regions CHEST (StudyDescription)" in told.stdout
    assert re.search(
        r"^ +1 +2026-03-26 +CT CHEST W/ CON \[CT\] +\d+\.\d +1\.00", told.stdout, re.MULTILINE
    )
    assert "+60.0 same region CHEST" in told.stdout
    assert "left out: below the floor: " in told.stdout
    assert re.search(
        r"^\d+ of \d+ priors in the plan, [\d.]+ of 40\.0 MB", told.stdout, re.MULTILINE
    )


def test_a_terminal_gets_colours_unless_no_color_says_no(folder: Path) -> None:
    coloured = explain("--dicom", folder, FORCE_COLOR="1", TERM="xterm-256color")
    plain = explain("--dicom", folder, FORCE_COLOR="1", TERM="xterm-256color", NO_COLOR="1")

    assert re.search(r"\x1b\[(\d+;)*32m", coloured.stdout)
    assert not re.search(r"\x1b\[(\d+;)*3\dm", plain.stdout)


def test_an_archive_gives_the_same_plan_as_a_folder_of_its_files(
    folder: Path, archive: DicomwebServer
) -> None:
    own = explain("--dicom", folder, "--json").document
    study = own["current"]["study_instance_uid"]
    archive.requests.clear()

    theirs = explain(study, "--origin-url", archive.url, "--json").document

    assert [prior["seen"] for prior in theirs["priors"]] == [
        prior["seen"] for prior in own["priors"]
    ]
    assert in_the_plan(theirs) == in_the_plan(own)
    assert not [path for path in archive.requests if "/metadata" in path or "/frames" in path]


def test_a_data_store_is_asked_with_the_credentials_at_hand(folder: Path, data_store: str) -> None:
    own = explain("--dicom", folder, "--json").document
    study = own["current"]["study_instance_uid"]
    options = (study, "--datastore", DATASTORE, "--origin-url", data_store, "--json")
    endpoint = {"AWS_ENDPOINT_URL_MEDICAL_IMAGING": data_store}

    theirs = explain(*options, **CREDENTIALS, **endpoint).document
    refused = explain(*options, **{**CREDENTIALS, "AWS_SECRET_ACCESS_KEY": "wrong"}, **endpoint)

    assert [prior["seen"] for prior in theirs["priors"]] == [
        prior["seen"] for prior in own["priors"]
    ]
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "wrong" not in refused.stderr


def test_new_rules_tell_what_enters_and_what_leaves(folder: Path, rules: Path) -> None:
    before = explain("--dicom", folder, "--json").document

    after = explain("--dicom", folder, "--json", "--rules", rules).document

    enters, leaves = (
        {prior["seen"]["study_instance_uid"] for prior in after["effect"][name]}
        for name in ("enters", "leaves")
    )
    assert in_the_plan(after) == (in_the_plan(before) | enters) - leaves
    assert enters
    assert leaves
    assert {prior["seen"]["regions"][0] for prior in after["effect"]["enters"]} == {"KNEE"}
    assert {prior["seen"]["modality"] for prior in after["effect"]["leaves"]} == {"CT"}
    told = explain("--dicom", folder, "--rules", rules)
    assert "What new.toml changes against the shipped rules" in told.stdout
    assert re.search(r"^  enters: [\d-]+ XR KNEE", told.stdout, re.MULTILINE)
    assert re.search(r"^  leaves: [\d-]+ CT THORAX", told.stdout, re.MULTILINE)
    assert max(map(len, told.stdout.splitlines())) <= 80


def test_rules_are_compared_with_those_in_force_if_they_are_given(
    folder: Path, rules: Path
) -> None:
    same = explain("--dicom", folder, "--rules", rules, "--current-rules", rules)
    back = explain("--dicom", folder, "--rules", os.devnull, "--current-rules", rules, "--json")
    only = explain("--dicom", folder, "--current-rules", rules, "--json").document

    assert same.stdout.rstrip().endswith("What new.toml changes against new.toml\n  nothing")
    assert {prior["seen"]["modality"] for prior in back.document["effect"]["enters"]} == {"CT"}
    assert "effect" not in only
    assert any("rule one-ct: " in prior["reason"] for prior in only["priors"])


def test_another_patients_study_in_the_folder_is_no_prior(tmp_path: Path) -> None:
    corpus = real_corpus(tmp_path)
    own = tmp_path / "own"
    own.mkdir()
    for number, file in enumerate(corpus.files):
        shutil.copy(file.path, own / f"IM{number}")
    studies = corpus.study_uids(PatientID=PATIENT_ID, IssuerOfPatientID=None)

    document = explain("--dicom", own, min(studies), "--json").document

    named = {prior["seen"]["study_instance_uid"] for prior in document["priors"]}
    assert named == studies - {min(studies)}
    assert not named & corpus.study_uids(PatientID=NAMESAKE_ID)


@pytest.mark.parametrize(
    ("options", "exit_code", "named"),
    [
        ((), 2, "one of --dicom, --origin-url and --datastore is needed"),
        (("--dicom", "/nowhere/at/all"), 2, "--dicom: not an existing folder"),
        (("1.2.x", "--dicom", "."), 2, "STUDY: not a DICOM UID"),
        (("--origin-url", "http://127.0.0.1:9"), 2, "STUDY: needed where an archive is asked"),
        (("1.2.3", "--origin-url", "ftp://x"), 2, "--origin-url: "),
        (("1.2.3", "--origin-url", "http://u:secret@x"), 2, "--origin-url: "),
        (("1.2.3", "--datastore", "a/../b"), 2, "--datastore: not the id of a data store"),
        (("1.2.3", "--dicom", ".", "--datastore", "x"), 2, "--dicom goes without"),
        (("1.2.3", "--origin-url", "http://127.0.0.1:9"), 1, "search: "),
        (("--dicom", ".", "--budget-mb", "0"), 2, "--budget-mb"),
        (("--dicom", ".", "--budget-mb", "inf"), 2, "--budget-mb"),
    ],
)
def test_what_is_wrong_is_named_and_the_exit_code_says_whose_fault_it_is(
    options: tuple[str, ...], exit_code: int, named: str
) -> None:
    ran = explain(*options)

    assert ran.exit_code == exit_code
    assert named in " ".join(ran.stderr.split())
    assert "secret" not in ran.stderr
    assert "Traceback" not in ran.stderr
    assert ran.stdout == ""


@pytest.mark.parametrize(
    ("text", "option", "named"),
    [
        ("floor = 0.5\nwarm = =", "--rules", ": not a TOML document at line 2, column 8"),
        ('[[warm]]\nname = "w"\nmax_numbr = 3', "--current-rules", ".warm.0.max_numbr: "),
        (
            '[[viewer]]\nname = "v"\n[[warm]]\nname = "w"\nnever = true',
            "--rules",
            ": viewer rule v against warm rule w: never warms them",
        ),
        ("floor = 0.5 # \udcff", "--rules", ": not a readable text file"),
    ],
)
def test_a_wrong_rule_file_is_refused_by_its_option_and_key(
    folder: Path, tmp_path: Path, text: str, option: str, named: str
) -> None:
    (tmp_path / "rules.toml").write_bytes(text.encode("utf-8", "surrogateescape"))

    ran = explain("--dicom", folder, option, tmp_path / "rules.toml")

    assert ran.exit_code == 2
    assert option + named in " ".join(ran.stderr.split())
    assert ran.stdout == ""


def test_a_study_that_the_archive_does_not_hold_is_the_archives_answer(
    archive: DicomwebServer,
) -> None:
    ran = explain("1.2.3.4.5", "--origin-url", archive.url)

    assert (ran.exit_code, ran.stdout) == (1, "")
    assert "study_instance_uid: not in the archive" in ran.stderr
