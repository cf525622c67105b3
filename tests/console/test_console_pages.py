"""Each page of the console over HTTP, as an operator without scripts sees it."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from moto import mock_aws

from teleprefetch.cli import app
from teleprefetch.edge.audit.reading import entries
from teleprefetch.errors import InvalidPayloadError
from teleprefetch.local.login.people import OPERATOR
from teleprefetch.run_records import Run
from tests.console.audits import an_audit
from tests.console.console_site import FAILED, STUDY, WAITING, ConsoleSite, busy_site
from tests.console.running import Running, running_console
from tests.console.visiting import Visitor

PAGES = ("/", "/find", f"/studies/{STUDY}", "/nodes", "/replay", "/rules", "/worth")
NOT_THERE = ("/why?what=nobody", "/why", "/studies/9.9", "/studies/1..9", "/nowhere",
             "/static/app.py", "/replay/preview-x", "/rules/x")  # fmt: skip


@pytest.mark.parametrize("path", PAGES)
def test_each_page_has_its_landmarks_and_one_first_heading(operator: Visitor, path: str) -> None:
    page = operator.get(path)

    assert page.status == 200
    assert '<html lang="en">' in page.text
    assert page.text.count("<main ") == page.text.count("<h1>") == 1
    assert '<nav aria-label="Pages">' in page.text
    assert page.text.count(' aria-current="') == 1
    assert "Skip to the content" in page.text


@pytest.mark.parametrize("path", PAGES)
def test_no_page_has_a_script_or_a_style_of_its_own_nor_anything_from_elsewhere(
    operator: Visitor, path: str
) -> None:
    text = operator.get(path).text

    assert text.count("<script") == text.count('<script src="/static/console.js')
    assert "<style" not in text
    assert " style=" not in text
    loaded = re.findall(r'(?:src|href|action)="([^"]*)"', text)
    assert len(loaded) > 8
    assert [one for one in loaded if not re.match(r"/(?!/)|#|data:,$", one)] == []


def test_now_shows_what_is_under_way_the_most_urgent_first(operator: Visitor) -> None:
    text = operator.get("/").text

    assert text.index("/studies/1.2.5") < text.index(f"/studies/{WAITING}")
    assert "60 of 130 frames proven" in text
    assert "past its deadline" in text
    assert "node-a: 1.2.4: 503 of the archive" in text
    assert "OriginUnavailableError: archive: 503" in text
    assert "imp-1" in text


def test_find_answers_as_the_command_does(operator: Visitor) -> None:
    by_study = operator.get(f"/find?study={FAILED}").text
    assert "p-2" in by_study
    assert "p-1" not in by_study

    waiting = operator.get("/find?kind=notice&outcome=waiting").text
    assert f"/studies/{WAITING}" in waiting
    assert FAILED not in waiting
    assert "Nothing is recorded" in operator.get("/find?reader=nobody").text


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("study=1..2", "study_instance_uid"),
        ("kind=nope", "kind"),
        ("outcome=nope", "outcome"),
        ("since=yesterday", "since"),
        ("since=2026-11-24T25:00:00", "since"),
        ("location=a b", "reading_location"),
    ],
)
def test_what_cannot_be_looked_for_is_told_by_its_field(
    operator: Visitor, query: str, named: str
) -> None:
    page = operator.get(f"/find?{query}")

    assert page.status == 400
    assert f"{named}: " in page.text.partition('role="alert"')[2].partition("</p>")[0]


def test_accession_number_and_patient_are_found_and_stand_in_no_address(operator: Visitor) -> None:
    form = operator.get("/find")
    for fields in ({"accession": "ACC-1"}, {"patient": "P-1"}):
        page = operator.post("/find", {"csrf": form.hidden("csrf"), **fields})
        assert "p-1" in page.text
        assert "p-2" not in page.text
        [value] = fields.values()
        assert value not in page.url
        assert value not in page.text
    other = {"csrf": form.hidden("csrf"), "patient": "P-1", "issuer": "another"}
    assert "Nothing is recorded" in operator.post("/find", other).text


def test_what_is_found_goes_on_page_by_page(fresh: Running) -> None:
    begin = datetime.now(UTC) - timedelta(hours=5)
    for number in range(120):
        fresh.site.record(f"many-{number:03}", at=begin + timedelta(seconds=number), reader="r")
    visitor = Visitor(fresh.url)
    page = visitor.log_in(OPERATOR, "/find?reader=r")
    seen: set[str] = set()
    for _ in range(3):
        seen |= {part[:8] for part in page.text.split("<code>")[1:]}
        _, _, rest = page.text.partition('<a class="button" href="/find?')
        if rest:
            page = visitor.get("/find?" + rest.partition('"')[0].replace("&amp;", "&"))
    assert seen == {f"many-{number:03}" for number in range(120)}


def test_a_study_is_told_as_why_tells_it_and_by_whom_it_was_opened(operator: Visitor) -> None:
    text = operator.get(f"/studies/{STUDY}").text

    assert "Its newest prefetch is warm." in text
    told = ["import event", "prefetch planned", "order to node-a", "a-1 assigned to reader-1",
            "notice out, warm", "opened by reader-1"]  # fmt: skip
    happened = text.partition('id="happened"')[2]
    assert all(words in happened for words in told)
    assert happened.index("import event") < happened.index("notice out") < happened.index("opened")
    assert "same region CHEST +55" in text
    assert "10 of 10 frames proven" in text
    assert "below the floor" in text


def test_a_run_and_an_assignment_lead_to_their_study(operator: Visitor) -> None:
    for what in ("a-1", "p-1", STUDY):
        assert urlsplit(operator.get(f"/why?what={what}").url).path == f"/studies/{STUDY}"


@pytest.mark.parametrize("path", NOT_THERE)
def test_what_is_not_there_is_404(operator: Visitor, path: str) -> None:
    assert operator.get(path).status == 404


def test_nodes_and_locations_tell_what_is_ready_full_and_drained(operator: Visitor) -> None:
    text = operator.get("/nodes").text

    a, b = text.split("<h3>")[1:]
    assert "ready" in a
    assert "77.5% of 4,000.0 MB" in a
    assert "98.2%" in a
    assert "not ready" in b
    assert "does not answer" in b
    assert "drained" in b
    assert "coast has no other node that takes orders" in b
    home, coast = text.partition("<tbody")[2].split('<th scope="row"')[1:]
    assert "1 of 2" in home
    assert "0 of 1" in coast


def test_worth_has_a_table_beside_each_plot_and_both_say_the_same(operator: Visitor) -> None:
    text = operator.get("/worth?by=day&since=7d").text

    ids = ("in-time", "time-to-warm", "hit-rate", "waste", "cost")
    sections = {name: text.partition(f'id="{name}"')[2].partition("</section>")[0] for name in ids}
    assert all("<svg" in one and "<table>" in one for one in sections.values())
    assert "100.0%" in sections["in-time"]
    assert "21.0 s" in sections["time-to-warm"]
    # warmed 2 x 8 MB on each day: all opened on the first, a quarter of each on the second
    assert "0.0%" in sections["waste"]
    assert ">12.0<" in sections["waste"]
    assert "75.0%" in sections["waste"]
    # on each day 2 series: two calls each, and four frames; a reader waited for one more
    assert ">12<" in sections["cost"]
    assert ">13<" in sections["cost"]
    assert "as of 2026-11-24" in sections["cost"]
    assert "Late studies" in text


def test_worth_by_rank_and_by_location(operator: Visitor) -> None:
    by_rank = operator.get("/worth?by=rank").text
    assert "prior 1" in by_rank
    assert "Notices have no rank" in by_rank
    assert "node-a" in operator.get("/worth?by=location").text
    assert "Notices have no modality" in operator.get("/worth?by=modality").text
    assert operator.get("/worth?by=nothing").status == 400
    assert operator.get("/worth?since=soon").status == 400


def test_words_of_others_are_never_markup(fresh: Running) -> None:
    fresh.site.runs.record(
        Run.parse(
            {"run_id": "evil", "kind": "prefetch", "outcome": "failed", "at": datetime.now(UTC),
             "cause": "<script>alert(1)</script>", "study_instance_uid": "1.9"}
        )
    )  # fmt: skip
    visitor = Visitor(fresh.url)
    for text in (visitor.log_in(OPERATOR).text, visitor.get("/studies/1.9").text):
        assert "<script>alert" not in text
        assert "&lt;script&gt;alert" in text
    refused = visitor.get('/find?study="><b>')
    assert "<b>" not in refused.text


def test_the_command_is_one_of_the_others() -> None:
    assert "console" in {one.callback.__name__ for one in app.registered_commands if one.callback}


@pytest.mark.parametrize("are_copies", [False, True])
def test_who_reads_an_audit_is_recorded_in_it_unless_it_is_a_copy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, are_copies: bool
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    now = datetime.now(UTC)
    folder = an_audit(tmp_path / "node-a", now)
    with (
        mock_aws(),
        running_console(busy_site(now), audits=(folder,), are_copies=are_copies) as console,
    ):
        visitor = Visitor(console.url)
        assert visitor.log_in(OPERATOR, "/worth").status == 200
        assert visitor.get(f"/studies/{STUDY}").status == 200

    told = [
        (entry.event.subject.partition("#")[2], entry.event.reason)
        for entry in entries(folder)
        if entry.event.kind == "audit-read"
    ]
    who = OPERATOR.subject
    assert told == ([] if are_copies else [(who, "console: worth"), (who, "console: why")])


def test_a_folder_without_an_audit_is_refused_at_the_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with (
        mock_aws(),
        pytest.raises(InvalidPayloadError, match="--audit"),
        running_console(ConsoleSite(), audits=(tmp_path,)),
    ):
        pass
