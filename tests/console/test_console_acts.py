"""Warm, purge, drain and reconcile at the console: shown first, then done, with who and why."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest

from teleprefetch.local.login.people import OPERATOR
from teleprefetch.prefetch import EndedImportJob
from teleprefetch.run_records import PastExecution, Run, RunFilter
from tests.builders import DATASTORE_ID, IMAGE_SET_ID
from tests.console.console_site import FAILED, STUDY
from tests.console.running import Running
from tests.console.test_console_replay import ended
from tests.console.visiting import Page, Visitor
from tests.origin_builders import a_study


@pytest.fixture
def visitor(fresh: Running) -> Visitor:
    visitor = Visitor(fresh.url)
    visitor.log_in(OPERATOR)
    return visitor


def asked(visitor: Visitor, act: str, **fields: object) -> Page:
    form = visitor.get("/act")
    about = {"csrf": form.hidden("csrf"), "once": form.hidden("once"), "act": act}
    return visitor.post("/act", about | fields)


def previewed(visitor: Visitor, act: str, **fields: object) -> Page:
    return ended(visitor, asked(visitor, act, **fields))


def confirmed(visitor: Visitor, preview: Page, reason: str = "reader called") -> Page:
    about = {"csrf": preview.hidden("csrf"), "once": preview.hidden("once"), "reason": reason}
    return visitor.post(preview.url, about)


def commands(running: Running) -> list[Run]:
    return list(running.site.runs.find(RunFilter(kind="command"), limit=9))


def started(running: Running) -> list[tuple[str, PastExecution]]:
    """What was started here, beside what there was."""
    known = running.site.histories.known.items()
    return [(machine, one) for (machine, _), one in known if one.status == "RUNNING"]


def orders(running: Running, node: str) -> list[dict[str, Any]]:
    sqs = boto3.client("sqs", region_name="us-east-1")
    url = running.site.settings.routing.nodes[node]
    found = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
    return [json.loads(one["Body"]) for one in found]


def test_a_study_is_warmed_as_it_was_shown_and_who_and_why_is_recorded(
    fresh: Running, visitor: Visitor
) -> None:
    preview = previewed(visitor, "warm", study=STUDY, location="home", priority="stat")

    assert "gets an order; it holds 120 frames of the study" in preview.text
    assert "is drained, and gets none" in preview.text
    assert commands(fresh) == []

    done = ended(visitor, confirmed(visitor, preview))

    [record] = commands(fresh)
    assert record.by is not None
    assert record.by.endswith(f"#{OPERATOR.subject}")
    assert (record.reason, record.cause) == ("reader called", "warm for home")
    [(machine, execution)] = started(fresh)
    state = fresh.site.histories.input_of(execution)["request"]
    assert (machine, state["priority"], state["study_instance_uid"]) == ("prefetch", "stat", STUDY)
    assert execution.name in done.text
    assert "reader called" in done.text


def test_a_study_is_purged_by_the_image_sets_that_were_shown(
    fresh: Running, visitor: Visitor
) -> None:
    fresh.site.origins["archive"] = Archive(IMAGE_SET_ID)
    preview = previewed(visitor, "purge", study=STUDY)
    assert preview.text.count("forgets 1 image sets, and does not store them again") == 2
    fresh.site.origins["archive"] = Archive("f" * 32)  # what is there now was not shown

    done = ended(visitor, confirmed(visitor, preview))

    assert "2 purge orders sent, 1 image sets" in done.text
    for node in ("node-a", "node-b"):
        assert [one["image_set_id"] for one in orders(fresh, node)] == [IMAGE_SET_ID]
    assert [one.cause for one in commands(fresh)] == ["purge of 1 image sets"]


def test_a_purge_of_one_node_leaves_the_others(fresh: Running, visitor: Visitor) -> None:
    fresh.site.origins["archive"] = Archive(IMAGE_SET_ID)

    ended(visitor, confirmed(visitor, previewed(visitor, "purge", study=STUDY, node="node-b")))

    assert orders(fresh, "node-a") == []
    assert len(orders(fresh, "node-b")) == 1


def test_a_node_is_drained_from_its_card_and_takes_orders_again(
    fresh: Running, visitor: Visitor
) -> None:
    page = visitor.get("/nodes")
    card = page.text.partition("<h3>node-a</h3>")[2].partition("</li>")[0]
    assert 'name="node" value="node-a"' in card
    assert 'name="act" value="drain"' in card
    assert "Preview a drain" in card

    preview = previewed(visitor, "drain", node="node-a")
    assert "gets no more orders; 0 wait and 0 are under way" in preview.text
    assert "has no other node that takes orders" in preview.text
    assert fresh.site.nodes.drained() == {"node-b"}
    ended(visitor, confirmed(visitor, preview, "new disk"))
    assert fresh.site.nodes.drained() == {"node-a", "node-b"}

    again = previewed(visitor, "undrain", node="node-a")
    ended(visitor, confirmed(visitor, again, "disk is in"))
    assert fresh.site.nodes.drained() == {"node-b"}
    assert {one.reason for one in commands(fresh)} == {"new disk", "disk is in"}


def test_a_node_that_is_not_drained_has_no_drain_to_end(visitor: Visitor) -> None:
    preview = previewed(visitor, "undrain", node="node-a")

    assert "There is nothing to do" in preview.text
    assert 'name="reason"' not in preview.text


def test_the_sweeps_say_what_they_would_start_and_release_and_then_do_it(
    fresh: Running, visitor: Visitor
) -> None:
    ended_at = datetime.now(UTC) - timedelta(hours=1)
    fresh.site.import_jobs["archive"] = Jobs(ended_at)

    preview = previewed(visitor, "reconcile", hours="24")

    assert "imports that have no outcome: started" in preview.text
    assert "notices past their deadline: released" in preview.text
    assert started(fresh) == []
    assert fresh.site.events.published == []

    done = ended(visitor, confirmed(visitor, preview, "event bus was down"))

    assert "imports that have no outcome: started" in done.text
    assert [machine for machine, _ in started(fresh)] == ["import"]
    [(kind, notice)] = fresh.site.events.published
    assert (kind, notice["assignment_id"]) == ("Assignment Released", "a-3")
    [record] = commands(fresh)
    assert record.cause == "reconcile: 1 imports and 0 image sets started, 1 notices released"


def test_nothing_is_done_without_a_reason(fresh: Running, visitor: Visitor) -> None:
    preview = previewed(visitor, "drain", node="node-a")
    for reason in ("", "  ", "x" * 501):
        answer = confirmed(visitor, preview, reason)
        assert answer.status == 400
        assert "reason: " in answer.text
    assert fresh.site.nodes.drained() == {"node-b"}


def test_a_form_sent_twice_acts_once(fresh: Running, visitor: Visitor) -> None:
    preview = previewed(visitor, "warm", study=STUDY, location="home")
    first, second = confirmed(visitor, preview), confirmed(visitor, preview)

    assert first.url == second.url
    ended(visitor, first)
    assert len(commands(fresh)) == 1


@pytest.mark.parametrize(
    ("act", "fields", "named"),
    [
        ("explode", {}, "act"),
        ("warm", {"study": "1..2", "location": "home"}, "study"),
        ("warm", {"study": STUDY, "location": "moon"}, "location"),
        ("warm", {"study": STUDY, "location": "home", "priority": "soon"}, "priority"),
        ("warm", {"study": STUDY, "location": "home", "origin": "other"}, "origin"),
        ("purge", {"study": ""}, "study"),
        ("purge", {"study": STUDY, "node": "node-z"}, "node"),
        ("drain", {"node": ""}, "node"),
        ("reconcile", {"hours": "0"}, "hours"),
        ("reconcile", {"hours": "many"}, "hours"),
    ],
)
def test_a_form_that_is_wrong_is_told_by_its_field(
    visitor: Visitor, act: str, fields: dict[str, object], named: str
) -> None:
    answer = asked(visitor, act, **fields)

    assert answer.status == 400
    assert f"{named}: " in answer.text.partition('role="alert"')[2]


def test_a_study_that_the_archive_does_not_hold_is_not_purged_and_says_so(
    fresh: Running, visitor: Visitor
) -> None:
    preview = previewed(visitor, "purge", study="1.2.99")

    assert "StudyNotFoundError" in preview.text
    about = {"csrf": preview.hidden("csrf"), "once": "o" * 20, "reason": "why"}
    assert visitor.post(preview.url, about).status == 400
    assert commands(fresh) == []


def test_what_was_done_cannot_be_confirmed_and_a_replays_page_is_not_an_acts(
    visitor: Visitor,
) -> None:
    done = ended(visitor, confirmed(visitor, previewed(visitor, "drain", node="node-a")))
    about = {"csrf": visitor.get("/act").hidden("csrf"), "once": "o" * 20, "reason": "why"}

    assert visitor.post(done.url, about).status == 404
    assert visitor.get(done.url.replace("/act/", "/replay/")).status == 404
    assert visitor.get("/act/preview-nothing").status == 404


def test_a_study_leads_to_its_acts_with_their_forms_filled(visitor: Visitor) -> None:
    page = visitor.get(f"/studies/{FAILED}")
    link = page.text.partition('href="/act?')[2].partition('"')[0].replace("&amp;", "&")
    assert link == f"study={FAILED}&location=home#warm"

    form = visitor.get(f"/act?{link.partition('#')[0]}").text
    assert form.count(f'name="study" value="{FAILED}"') == 2
    assert "<option selected>home</option>" in form


class Archive:
    """A data store with one image set of the study."""

    def __init__(self, image_set_id: str) -> None:
        series = a_study(1).series[0]
        pointer = series.pointer.model_copy(update={"image_set_id": image_set_id})
        self.study = a_study(1).model_copy(
            update={"series": (series.model_copy(update={"pointer": pointer}),)}
        )

    def search_for_study(self, _study_instance_uid: str) -> Any:
        return self.study


class Jobs:
    """A data store with one job that ended, and no event told of it."""

    def __init__(self, ended_at: datetime) -> None:
        self.job = EndedImportJob(
            datastore_id=DATASTORE_ID,
            job_id="job-1",
            job_status="COMPLETED",
            output_s3_uri="s3://output/x/",
            ended_at=ended_at,
        )

    def ended_since(self, since: datetime) -> tuple[EndedImportJob, ...]:
        return (self.job,) if self.job.ended_at and self.job.ended_at >= since else ()
