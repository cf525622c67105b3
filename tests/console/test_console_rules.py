"""Rules are tried at the console over the documents of past prefetches; figures made by hand."""

from collections.abc import Iterator
from datetime import UTC, datetime

import boto3
import pytest
from moto import mock_aws

from teleprefetch.domain.counterfactual import Past, replay_rules
from teleprefetch.domain.rules import DEFAULT_RULES, parse_rules
from teleprefetch.local.login.people import OPERATOR
from teleprefetch.model import PatientKey, SeriesPointer, SeriesRecord, StudyRecord
from teleprefetch.prefetch import Candidates
from tests.console.console_site import busy_site
from tests.console.running import Running, running_console
from tests.console.visiting import Page, Visitor
from tests.waiting import until

BUDGET_BYTES = 10**9
NEVER_FILMS = '[[warm]]\nname = "no films"\nprior_modality = "XR"\nnever = true\n'


def a_study(number: int, description: str, *, on: str, size: int) -> StudyRecord:
    uid = f"1.2.{number}"
    pointer = SeriesPointer(study_instance_uid=uid, series_instance_uid=f"{uid}.1")
    return StudyRecord(
        study_instance_uid=uid,
        patient=PatientKey(patient_id="SECRET-PATIENT"),
        study_description=description,
        study_date=on,
        series=(SeriesRecord(pointer=pointer, number_of_instances=size),),
    )


CANDIDATES = Candidates(
    current=a_study(1, "CT CHEST", on="20261101", size=10),
    others=(
        a_study(2, "CT CHEST W CON", on="20260101", size=10),
        a_study(3, "XR CHEST 2V", on="20260601", size=2),
    ),
)


@pytest.fixture
def console(monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket="documents")
        for name in ("p-1", "p-2"):
            body = CANDIDATES.model_dump_json().encode()
            s3.put_object(Bucket="documents", Key=f"prefetch/{name}/candidates.json", Body=body)
        site = busy_site(datetime.now(UTC))
        site.use(BUDGET_BYTES=str(BUDGET_BYTES))
        with running_console(site) as running:
            yield running


@pytest.fixture
def visitor(console: Running) -> Visitor:
    visitor = Visitor(console.url)
    visitor.log_in(OPERATOR)
    return visitor


def sent(visitor: Visitor, **fields: object) -> Page:
    form = visitor.get("/rules")
    about = {"csrf": form.hidden("csrf"), "once": form.hidden("once")}
    return visitor.post("/rules", about | fields, is_multipart=True)


def ended(visitor: Visitor, page: Page) -> Page:
    def look() -> Page | None:
        seen = visitor.get(page.url)
        return None if "data-live" in seen.text else seen

    found = until(look, "the end")
    assert isinstance(found, Page)
    return found


def test_pasted_rules_tell_what_they_would_have_changed(visitor: Visitor) -> None:
    told = replay_rules(
        [Past(prefetch_id="p", on=datetime.now(UTC).date(), candidates=CANDIDATES)] * 2,
        old=DEFAULT_RULES,
        new=parse_rules(NEVER_FILMS),
        budget_bytes=BUDGET_BYTES,
        opened=(),
    )
    assert (told.before.priors_planned, told.after.priors_planned) == (4, 2)

    page = ended(visitor, sent(visitor, rules=NEVER_FILMS))

    assert "2 prefetches under both sets of rules" in page.text
    row = page.text.partition("priors planned")[2].partition("</tr>")[0]
    figures = [part.partition("<")[0] for part in row.split('<td class="n">')[1:]]
    before, after = told.before.priors_planned, told.after.priors_planned
    assert figures == [str(before), str(after), f"{after - before:+}"]
    assert f"{len(told.changes)} plans differ" in page.text
    assert "no films" in page.text
    assert "SECRET-PATIENT" not in page.text


def test_a_file_goes_before_the_text(visitor: Visitor) -> None:
    file = ("rules.toml", NEVER_FILMS, "application/toml")
    page = ended(visitor, sent(visitor, rules="floor = 0.9\n", file=file))
    assert "no films" in page.text.partition("The rules tried")[2]


def test_the_same_rules_change_nothing(visitor: Visitor) -> None:
    assert "0 plans differ" in ended(visitor, sent(visitor, rules="")).text


def test_a_time_without_prefetches_says_so(visitor: Visitor) -> None:
    assert "No prefetch of that time" in ended(visitor, sent(visitor, rules="", since="0s")).text


@pytest.mark.parametrize(
    ("rules", "named"),
    [
        ("floor = ", "rules: not a TOML document"),
        ("flor = 0.1", "rules.flor: "),
        ("#" * 100_001, "rules: more than 100 kB"),
    ],
)
def test_rules_that_are_wrong_are_told_by_their_field_and_kept(
    visitor: Visitor, rules: str, named: str
) -> None:
    page = sent(visitor, rules=rules)
    assert page.status == 400
    assert named in page.text
    assert rules in page.text


def test_a_file_that_is_no_text_and_a_time_that_is_none_are_refused(visitor: Visitor) -> None:
    binary = sent(visitor, rules="", file=("rules.toml", b"\xff\xfe\x00", "application/toml"))
    assert binary.status == 400
    assert "file: not a text in UTF-8" in binary.text
    assert "since: " in sent(visitor, rules="", since="soon").text


def test_a_damaged_document_ends_the_run_and_is_named(console: Running, visitor: Visitor) -> None:
    key = "prefetch/p-3/candidates.json"
    boto3.client("s3").put_object(Bucket="documents", Key=key, Body=b"{")
    page = ended(visitor, sent(visitor, rules=NEVER_FILMS))
    assert f"CorruptPayloadError: {key}" in page.text


def test_the_rules_in_force_are_where_a_trial_begins(console: Running, visitor: Visitor) -> None:
    assert "The shipped rules are in force" in visitor.get("/rules").text
    console.site.use(SITE_RULES=NEVER_FILMS, BUDGET_BYTES=str(BUDGET_BYTES))
    assert "no films" in visitor.get("/rules").text
    assert "0 plans differ" in ended(visitor, sent(visitor, rules=NEVER_FILMS)).text
