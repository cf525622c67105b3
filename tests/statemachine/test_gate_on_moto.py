"""The gate on the shipped machines and handlers on moto: every subset of components fails at once.

The same promise as `test_gate_in_time.py`, in real time and through the services' own names.
"""

import itertools
from typing import Any

from teleprefetch import runtime
from teleprefetch.assignment import prefetch_id_of_assignment
from teleprefetch.errors import OriginUnavailableError
from teleprefetch.run_records import notice_run_id
from tests.fake_origin import SEARCH_PATIENT
from tests.origin_builders import a_uid
from tests.waiting import until

COMPONENTS = ("admission", "start", "ranking", "node", "reports")
SUBSETS = [
    subset
    for size in range(len(COMPONENTS) + 1)
    for subset in itertools.combinations(COMPONENTS, size)
]
DEADLINE_S = 14


def break_components(pipeline: Any, monkeypatch: Any) -> None:
    """Each function fails for the assignments whose name says so, and works for the others."""
    for component, function in (
        ("admission", "AdmitAssignment"),
        ("start", "AwaitWarm"),
        ("start", "BeginWarming"),
        ("ranking", "RankPriors"),
    ):
        _break(pipeline, component, function)
    progress = runtime.progress()
    reports = progress.reports

    def failing(prefetch_id: str) -> Any:
        if prefetch_id in pipeline.without_reports:
            raise OriginUnavailableError("table: 503")
        return reports(prefetch_id)

    monkeypatch.setattr(progress, "reports", failing)


def _break(pipeline: Any, component: str, function: str) -> None:
    [name] = [name for name in pipeline.aws.lambdas.names if f"-{function}Function-" in name]

    def handler(event: dict[str, Any], context: Any) -> Any:
        if component in str(event):  # the assignment's id names what is to fail for it
            raise RuntimeError("said by the test")
        return shipped(event, context)

    shipped = pipeline.aws.lambdas.replace(name, handler)


def test_whatever_fails_each_notice_is_out_once_by_its_deadline_and_never_falsely_warm(
    pipeline: Any, monkeypatch: Any
) -> None:
    assert len(SUBSETS) == 2 ** len(COMPONENTS) == 32
    ids = {"-".join(("a", *subset)): subset for subset in SUBSETS}
    pipeline.without_reports = {
        prefetch_id_of_assignment(one) for one, subset in ids.items() if "reports" in subset
    }
    silent = {prefetch_id_of_assignment(one) for one, subset in ids.items() if "node" in subset}
    break_components(pipeline, monkeypatch)
    for assignment_id in ids:
        pipeline.assign(seconds=DEADLINE_S, assignment_id=assignment_id)

    proven: set[str] = set()

    def all_out() -> bool:
        for order in pipeline.node._received().orders:
            if order.prefetch_id not in silent | proven:
                proven.add(order.prefetch_id)
                pipeline.node.warm(order)
        runs = [runtime.runs().run(notice_run_id(one)) for one in ids]
        return all(run is not None and run.outcome != "waiting" for run in runs)

    until(all_out, "every notice", within_s=DEADLINE_S + 30)

    pipeline.ended("Assignment", len(ids))
    published = [one["detail"] for one in pipeline.published()]
    notices = {one["assignment_id"]: one for one in published if "reason" in one}
    assert len([one for one in published if "reason" in one]) == len(ids)
    for assignment_id, subset in ids.items():
        notice = notices[assignment_id]
        assert notice["released_at"] <= notice["deadline_at"], subset
        if notice["reason"] == "warm":
            assert prefetch_id_of_assignment(assignment_id) in proven
        if not subset:
            assert (notice["reason"], notice["why"]) == ("warm", "")
        else:
            assert notice["reason"] != "warm", subset
            assert notice["why"], subset
    assert pipeline.origin.calls[SEARCH_PATIENT]
    assert a_uid(1) in {one["study_instance_uid"] for one in notices.values()}
