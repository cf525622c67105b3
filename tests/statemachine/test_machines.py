"""The shipped machines with the shipped handlers: what ends how, once, and with what record."""

import threading
from typing import Any

import pytest

from teleprefetch import runtime
from teleprefetch.errors import (
    AccessDeniedError,
    CorruptPayloadError,
    OriginThrottledError,
    OriginUnavailableError,
    PrefetchError,
)
from tests.builders import a_job_event, an_image_set_event
from tests.fake_origin import SEARCH_PATIENT, SEARCH_STUDY
from tests.origin_builders import a_uid, an_image_set_id
from tests.waiting import until

CURRENT = a_uid(1)


def states(outcomes: list[Any]) -> dict[str, str]:
    return {outcome.subject.split("-")[0]: outcome.state for outcome in outcomes}


def test_an_import_ends_in_a_warm_study_and_one_outcome_each(pipeline: Any) -> None:
    pipeline.put_manifest()
    pipeline.send(a_job_event())

    pipeline.node.warm(pipeline.node.order())

    pipeline.ended("Prefetch")
    assert {one["status"] for one in pipeline.ended("Import")} == {"SUCCEEDED"}
    assert states(pipeline.outcomes()) == {"imp": "prefetching", "study": "warm"}


def test_an_old_study_that_is_imported_starts_nothing(pipeline: Any) -> None:
    pipeline.put_manifest(an_image_set_id(2001))
    pipeline.send(a_job_event())

    pipeline.ended("Import")
    assert states(pipeline.outcomes()) == {"imp": "historical"}
    assert pipeline.executions("Prefetch") == []


def test_the_same_event_fifty_times_is_one_prefetch_one_order_and_one_outcome(
    pipeline: Any,
) -> None:
    pipeline.put_manifest()
    senders = [
        threading.Thread(target=pipeline.send, args=(a_job_event(),), kwargs={"times": 10})
        for _ in range(5)
    ]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()

    pipeline.node.warm(pipeline.node.order())

    pipeline.ended("Import", 50)
    assert len(pipeline.ended("Prefetch")) == 1
    assert len(pipeline.node.orders) == 1
    assert sorted(states(pipeline.outcomes())) == ["imp", "study"]


def test_an_assignment_is_released_when_its_study_is_proven_warm(pipeline: Any) -> None:
    pipeline.assign()
    order = pipeline.node.order()
    assert order.priority == "high"
    pipeline.node.warm(order)

    notice = pipeline.notice()

    assert (notice.reason, notice.why) == ("warm", "")
    assert notice.released_at < notice.deadline_at
    assert {prior.study_instance_uid for prior in notice.priors} == {a_uid(2), a_uid(3)}
    pipeline.ended("Assignment")
    assert len(pipeline.published()) == 1


def test_the_same_assignment_five_times_is_one_prefetch_and_one_notice(pipeline: Any) -> None:
    pipeline.assign(times=5)
    pipeline.node.warm(pipeline.node.order())

    pipeline.ended("Assignment", 5)
    assert len(pipeline.ended("Prefetch")) == 1
    assert len(pipeline.published()) == 1


def test_a_node_that_is_too_slow_gives_a_partial_notice_at_the_deadline(pipeline: Any) -> None:
    pipeline.assign(seconds=6)
    pipeline.node.report(pipeline.node.order(), verified=1)

    notice = pipeline.notice()

    assert notice.reason == "partial"
    assert notice.why.startswith("deadline reached; ")
    assert notice.released_at <= notice.deadline_at
    assert len(pipeline.published()) == 1


def test_warm_after_the_deadline_is_another_event_and_no_second_notice(pipeline: Any) -> None:
    pipeline.assign(seconds=5)
    order = pipeline.node.order()
    assert pipeline.notice().reason == "cold"
    pipeline.ended("Assignment")

    pipeline.node.warm(order)

    pipeline.ended("Prefetch")
    assert states(pipeline.outcomes()) == {"assigned": "warm"}
    events = {one["detail-type"]: one["detail"] for one in pipeline.published()}
    assert sorted(events) == ["Assignment Released", "Study Warm"]
    assert events["Study Warm"]["assignment_id"] == events["Assignment Released"]["assignment_id"]
    assert events["Study Warm"]["studies"] == 3


def test_a_stat_study_is_released_at_once_and_warmed_after_it(pipeline: Any) -> None:
    pipeline.assign(priority="stat")

    assert pipeline.notice().reason == "cold"
    order = pipeline.node.order()
    assert order.priority == "stat"
    pipeline.ended("Assignment")
    pipeline.node.warm(order)

    pipeline.ended("Prefetch")
    kinds = [one["detail-type"] for one in pipeline.published()]
    assert kinds == ["Assignment Released", "Study Warm"]


@pytest.mark.parametrize(
    ("error", "times"),
    [
        (OriginThrottledError("search: 429"), 5),
        (OriginUnavailableError("search: 503"), 4),
        (CorruptPayloadError("search: cut short"), 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_passing_failure_of_the_archive_is_retried(
    pipeline: Any, error: PrefetchError, times: int
) -> None:
    pipeline.origin.fail(SEARCH_PATIENT, error, times=times)
    pipeline.assign()

    pipeline.node.warm(pipeline.node.order())

    assert pipeline.notice().reason == "warm"
    assert pipeline.origin.calls[SEARCH_PATIENT] == times + 1


def test_a_refusal_is_not_retried_and_releases_before_the_deadline(pipeline: Any) -> None:
    pipeline.origin.fail(SEARCH_STUDY, AccessDeniedError("SearchImageSets: denied"), times=99)
    pipeline.assign(seconds=600)

    notice = pipeline.notice()

    assert (notice.reason, notice.why) == (
        "cold", "AccessDeniedError: SearchImageSets: denied; no plan",
    )  # fmt: skip
    assert pipeline.origin.calls[SEARCH_STUDY] == 1
    assert states(pipeline.outcomes()) == {"assigned": "failed"}


def test_an_archive_that_stays_down_fails_the_prefetch_and_releases_the_notice(
    pipeline: Any,
) -> None:
    pipeline.origin.fail(SEARCH_STUDY, OriginUnavailableError("search: 503"), times=99)
    pipeline.assign(seconds=600)

    assert pipeline.notice().why == "OriginUnavailableError: search: 503; no plan"
    assert pipeline.ended("Prefetch")[0]["status"] == "FAILED"


def test_a_study_that_the_archive_does_not_hold_is_cold_with_its_cause(pipeline: Any) -> None:
    pipeline.assign(study_instance_uid=a_uid(99))

    assert pipeline.notice().reason == "cold"
    [outcome] = pipeline.outcomes()
    assert outcome.cause == "StudyNotFoundError: study_instance_uid: not in the archive"


def test_a_node_that_fails_is_asked_again_and_then_counted_as_lost(pipeline: Any) -> None:
    pipeline.assign()
    for _ in range(3):
        token = pipeline.node.order().task_token
        runtime.tasks().fail(token, error="NodeUnavailableError", cause="store: full")

    assert pipeline.notice().reason == "cold"
    assert len(pipeline.node.orders) == 3
    [outcome] = pipeline.outcomes()
    assert outcome.counts["nodes_lost"] == 1
    assert outcome.cause == "node-a lost: NodeUnavailableError: store: full"


def test_a_manifest_that_comes_late_is_waited_for(pipeline: Any) -> None:
    pipeline.send(a_job_event())
    pipeline.put_manifest()

    pipeline.node.warm(pipeline.node.order())

    pipeline.ended("Prefetch")
    assert states(pipeline.outcomes()) == {"imp": "prefetching", "study": "warm"}


def test_a_manifest_that_never_comes_is_a_recorded_failure(pipeline: Any) -> None:
    pipeline.send(a_job_event())

    assert pipeline.ended("Import")[0]["status"] == "FAILED"
    [outcome] = until(pipeline.outcomes, "an outcome")
    assert (outcome.state, outcome.cause) == (
        "failed",
        "OriginUnavailableError: detail.outputS3Uri: no job-output-manifest.json there yet",
    )


def test_a_manifest_that_stays_half_written_is_a_recorded_failure(pipeline: Any) -> None:
    pipeline.put_manifest(content=b'{"jobSummary": {"imageSets')
    pipeline.send(a_job_event())

    pipeline.ended("Import")
    [outcome] = until(pipeline.outcomes, "an outcome")
    assert outcome.cause.startswith("CorruptPayloadError: job-output-manifest.json")


def test_a_malformed_event_is_refused_with_the_field_and_leaves_no_machine_hanging(
    pipeline: Any,
) -> None:
    pipeline.send(an_image_set_event(imagesetId="../x"))

    assert pipeline.ended("Import")[0]["status"] == "SUCCEEDED"
    [outcome] = pipeline.outcomes()
    assert outcome.state == "refused"
    assert outcome.cause.startswith("InvalidPayloadError: detail.image_set_id: ")


def test_an_event_of_another_data_store_starts_nothing(pipeline: Any) -> None:
    pipeline.send(a_job_event(datastoreId="0" * 32))

    assert pipeline.executions("Import") == []


def test_a_deleted_image_set_becomes_a_purge_order(pipeline: Any) -> None:
    pipeline.send(an_image_set_event("Image Set Deleted", imagesetId=an_image_set_id(1001)))

    assert pipeline.node.purge()["image_set_id"] == an_image_set_id(1001)
    pipeline.ended("Import")
    assert states(pipeline.outcomes()) == {"imp": "deleted"}


def test_a_handler_that_breaks_in_the_assignment_machine_still_releases(pipeline: Any) -> None:
    def broken(event: dict[str, Any], context: Any) -> None:
        raise RuntimeError

    [admit] = [name for name in pipeline.aws.lambdas.names if "AdmitAssignment" in name]
    pipeline.aws.lambdas.replace(admit, broken)
    pipeline.assign(seconds=600)

    assert pipeline.notice().why == "RuntimeError; no plan"


def test_the_failure_of_the_release_itself_is_taken_up_by_the_rule(pipeline: Any) -> None:
    failures = 9  # one more than the machine's own retries

    [release] = [name for name in pipeline.aws.lambdas.names if "ReleaseAssignment" in name]

    def failing(event: dict[str, Any], context: Any) -> Any:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise OriginUnavailableError("table: 503")
        return shipped(event, context)

    shipped = pipeline.aws.lambdas.replace(release, failing)
    pipeline.assign(seconds=1)

    assert pipeline.notice().reason == "cold"
    assert pipeline.ended("Assignment")[0]["status"] == "FAILED"
    # the notice is written first and published after, here by the rule and not the machine
    assert len(until(pipeline.published, "the notice on the bus")) == 1
