"""What a report says while it is on the way: never warm before it is known what warm would be."""

from typing import Any

import pytest

from teleprefetch.domain.warmth import prove
from teleprefetch.edge.warming.orders import ActiveOrder
from teleprefetch.edge.warming.tally import OrderTally
from teleprefetch.errors import OriginUnavailableError
from teleprefetch.model import FrameEntry, SeriesMetadata, WarmOrder, WarmReport
from tests.builders import NOW, a_plan, a_planned_prior, a_report, a_warmth
from tests.edge.fakes_for_node import FakeOrders
from tests.fakes import MemoryProgress, MemoryTasks

PRIORS = (
    a_planned_prior(study_instance_uid="1.2.4", rank=1),
    a_planned_prior(study_instance_uid="1.2.5", rank=2),
)


def a_tally(*, required: tuple[str, ...] = ()) -> OrderTally:
    series = [
        {
            "role": "current" if uid == "1.2.3" else "prior",
            "rank": rank,
            "series": {"study_instance_uid": uid, "series_instance_uid": f"{uid}.1"},
            "estimated_bytes": 1,
        }
        for rank, uid in enumerate(("1.2.3", "1.2.4", "1.2.5"))
    ]
    return OrderTally(a_plan(series=series, priors=PRIORS, required=required), node="node-a")


def know(tally: OrderTally, at: int, frames: int = 2) -> None:
    entries = tuple(
        FrameEntry(sop_instance_uid=f"1.9.{number}", frame_number=1)
        for number in range(1, frames + 1)
    )
    planned = tally.series[at].planned
    tally.series[at].know(SeriesMetadata(series=planned.series, dicom_json=b"[]", frames=entries))


def keep_and_prove(tally: OrderTally, at: int) -> None:
    for frame in range(len(tally.series[at].entries)):
        tally.keep(at, frame, 100, joined=False)
    series = tally.series[at]
    series.prove(dict.fromkeys(series.stored, 100))


def test_a_study_whose_metadata_are_not_read_yet_is_not_warm() -> None:
    tally = a_tally()
    plan = tally._plan

    report = tally.report(at=NOW, final=False)

    assert not any(study.is_warm for study in report.studies)
    assert prove(plan, [report], failure="deadline reached", now=NOW).reason == "cold"

    know(tally, 0)
    keep_and_prove(tally, 0)
    report = tally.report(at=NOW, final=False)
    assert [study.is_warm for study in report.studies] == [True, False, False]
    assert prove(plan, [report], failure="deadline reached", now=NOW).reason == "partial"


def test_a_report_says_when_all_that_is_required_is_proven() -> None:
    tally = a_tally(required=("1.2.3", "1.2.4"))
    for at in range(3):
        know(tally, at)
    keep_and_prove(tally, 0)
    assert not tally.report(at=NOW, final=False).required_warm

    keep_and_prove(tally, 1)

    assert tally.report(at=NOW, final=False).required_warm


def test_a_plan_that_requires_nothing_by_name_says_nothing_early() -> None:
    tally = a_tally()
    for at in range(3):
        know(tally, at)
        keep_and_prove(tally, at)

    assert not tally.report(at=NOW, final=True).required_warm


class FailingProgress(MemoryProgress):
    is_down = False

    def report(self, report: WarmReport) -> None:
        if self.is_down:
            raise OriginUnavailableError("table: 503")
        super().report(report)


def an_order(**changed: Any) -> WarmOrder:
    about = {
        "prefetch_id": "p-1",
        "node": "node-a",
        "plan": {"bucket": "b", "key": "k"},
        "priority": "high",
        "give_up_at": NOW,
        "task_token": "task",
        "waiter": "waiter",
    }
    return WarmOrder.parse(about | changed)


@pytest.fixture
def tasks() -> MemoryTasks:
    return MemoryTasks("task", "waiter")


def active(tasks: MemoryTasks, progress: MemoryProgress, **changed: Any) -> ActiveOrder:
    return ActiveOrder(
        an_order(**changed), "receipt", orders=FakeOrders(), tasks=tasks, progress=progress
    )


def test_who_waits_is_told_once_after_the_report_that_says_so(tasks: MemoryTasks) -> None:
    progress = MemoryProgress()
    order = active(tasks, progress)
    order.tell(a_report(a_warmth("1.2.3", 5, 5), state="warming"))
    assert tasks.answers == {}

    for _ in range(2):
        order.tell(a_report(a_warmth("1.2.3", 5, 5), state="warming", required_warm=True))

    assert tasks.answers == {
        "waiter": {"prefetch_id": "p-1", "state": "required warm", "cause": ""}
    }
    assert progress.reports("p-1")[0].required_warm


def test_who_waits_is_not_told_before_the_report_is_there(tasks: MemoryTasks) -> None:
    progress = FailingProgress()
    order = active(tasks, progress)
    report = a_report(a_warmth("1.2.3", 5, 5), state="warming", required_warm=True)
    progress.is_down = True
    order.tell(report)
    assert tasks.answers == {}

    progress.is_down = False
    order.tell(report)

    assert list(tasks.answers) == ["waiter"]


def test_an_order_that_nobody_waits_for_tells_nobody(tasks: MemoryTasks) -> None:
    order = active(tasks, MemoryProgress(), waiter="")

    order.tell(a_report(a_warmth("1.2.3", 5, 5), state="warming", required_warm=True))

    assert tasks.answers == {}
