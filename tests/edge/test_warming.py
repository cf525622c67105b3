import dataclasses
import threading

import pytest

from teleprefetch.dicom import JPEG_BASELINE
from teleprefetch.errors import (
    AccessDeniedError,
    CorruptPayloadError,
    InvalidPayloadError,
    OriginThrottledError,
    OriginUnavailableError,
    StudyNotFoundError,
)
from tests.edge.fakes_for_node import (
    ORIGIN,
    content,
    eventually,
    metadata,
    order,
    plan,
    pointer,
)


@pytest.fixture
def run(warmer, documents):
    def run_plan(*series, stop=None, tell=lambda _report: None, **options):
        outcome = warmer.run(
            order(documents, plan(*series), **options), tell=tell, stop=stop or threading.Event()
        )
        return outcome and outcome.report

    return run_plan


def test_a_plan_is_warmed_and_each_frame_proven(run, origin, store):
    current, prior = origin.hold(pointer(1), 5), origin.hold(pointer(2), 3)
    report = run(current, prior)
    assert report.state == "warm"
    assert report.frames_planned == report.frames_warmed == report.frames_verified == 8
    assert report.frames_fetched == 8
    assert report.bytes_fetched == report.bytes_warmed
    assert report.bytes_warmed == sum(len(content(n)) for n in (1, 2, 3, 4, 5, 1, 2, 3))
    assert [(one.role, one.frames_verified) for one in report.studies] == [
        ("current", 5),
        ("prior", 3),
    ]
    assert report.problems == ()
    assert len(store.verify(ORIGIN, current)) == 5


def test_metadata_come_first_then_first_middle_and_last_frames_then_the_current_study(
    open_warmer, store, origin, documents
):
    current, prior = origin.hold(pointer(1), 4), origin.hold(pointer(2), 4)
    plan_ = plan(current, prior)
    warmer = open_warmer(store, threads=1)

    def begin_when_all_is_known(_entry):
        if len(origin.asked) == 3:
            eventually(lambda: sum(warmer._needs.pool.queued().values()) == 7)

    origin.before_frame = begin_when_all_is_known
    warmer.run(order(documents, plan_), tell=lambda _report: None, stop=threading.Event())
    assert origin.asked[:2] == [("metadata", "1.2.1.1"), ("metadata", "1.2.2.1")]
    assert [name[0] for name in origin.asked[2:]] == [
        "1.2.1.1.1", "1.2.2.1.1",
        "1.2.1.1.3", "1.2.1.1.4", "1.2.2.1.3", "1.2.2.1.4",
        "1.2.1.1.2", "1.2.2.1.2",
    ]  # fmt: skip


def test_frames_of_a_series_are_fetched_while_metadata_of_others_are_awaited(
    run, origin, documents
):
    current, prior = origin.hold(pointer(1), 4), origin.hold(pointer(2), 4)

    def wait_for_frames(series):
        if series == prior:
            eventually(lambda: sum(origin.frame_calls.values()) == 4)

    origin.before_metadata = wait_for_frames
    assert run(current, prior).state == "warm"


def test_the_first_frame_is_reported_at_once_and_the_whole_current_study_too(
    store, origin, documents, clock, open_warmer
):
    """However seldom reports are: an early end of the node does not leave it called cold."""
    warmer = open_warmer(store, threads=1)
    warmer._needs = dataclasses.replace(warmer._needs, report_every_s=10**6)
    current, prior = origin.hold(pointer(1), 30), origin.hold(pointer(2), 3)
    told = []
    warmer.run(order(documents, plan(current, prior)), tell=told.append, stop=threading.Event())
    proven = [[study.frames_verified for study in report.studies] for report in told]
    assert any(0 < counts[0] < 5 for counts in proven), proven
    assert any(counts[0] == 30 for counts in proven), proven
    assert len(told) <= 5


def test_what_is_held_and_verified_is_not_fetched_again(run, origin):
    series = origin.hold(pointer(), 4)
    run(series)
    again = run(series)
    assert again.state == "warm"
    assert (again.frames_verified, again.frames_fetched, again.bytes_fetched) == (4, 0, 0)
    assert max(origin.frame_calls.values()) == 1
    assert origin.metadata_calls[series] == 1


def test_what_was_damaged_on_the_disk_since_is_fetched_again(run, origin, store):
    series = origin.hold(pointer(), 4)
    run(series)
    held = store.frames(ORIGIN, series)[("1.2.1.1.2", 1)]
    path = store._segments / store.rows()[0].segment
    with path.open("r+b") as file:
        file.seek(held.offset)
        file.write(b"\0\0\0")
    again = run(series)
    assert (again.state, again.frames_verified, again.frames_fetched) == ("warm", 4, 1)


def test_a_flipped_bit_is_fetched_once_more_and_then_right(run, origin):
    series = origin.hold(pointer(), 3)
    damaged = bytearray(content(2))
    damaged[-20] ^= 4
    left = [bytes(damaged)]
    origin.before_frame = lambda entry: (
        left.pop() if entry.sop_instance_uid.endswith(".2") and left else None
    )
    report = run(series)
    assert (report.state, report.problems) == ("warm", ())
    assert origin.frame_calls["1.2.1.1.2", 1] == 2


def test_a_frame_that_stays_damaged_is_named_and_the_rest_goes_on(run, origin, store):
    series = origin.hold(pointer(), 3)
    damaged = bytearray(content(2))
    damaged[-20] ^= 4
    origin.before_frame = lambda entry: (
        bytes(damaged) if entry.sop_instance_uid.endswith(".2") else None
    )
    report = run(series)
    assert report.state == "partial"
    assert (report.frames_planned, report.frames_verified) == (3, 2)
    assert report.problems == ("series 1 of the plan, frame 2: what the archive sends is damaged",)
    assert origin.frame_calls["1.2.1.1.2", 1] == 2
    assert not store.has(ORIGIN, series, ("1.2.1.1.2", 1))


def test_pixels_are_not_decoded_when_that_is_switched_off(open_warmer, store, origin, documents):
    series = origin.hold(pointer(), 1)
    damaged = bytearray(content(1))
    damaged[-20] ^= 4
    origin.before_frame = lambda _entry: bytes(damaged)
    outcome = open_warmer(store, verify_pixels=False).run(
        order(documents, plan(series)), tell=lambda _report: None, stop=threading.Event()
    )
    assert outcome.report.state == "warm"


def test_frames_that_cannot_be_decoded_here_are_said_to_be_unchecked(run, origin):
    series = origin.hold(pointer(), 2)
    origin.transfer_syntax_uid = JPEG_BASELINE
    origin.before_frame = lambda _entry: b"\xff\xd8 jpeg"
    for _ in range(2):
        report = run(series)
        assert report.state == "warm"
        assert report.problems == ("the pixels of 2 frames are not checked: not decoded here",)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (StudyNotFoundError("1.2.3"), "the archive does not hold it"),
        (AccessDeniedError("1.2.3"), "the archive refuses access"),
        (OriginUnavailableError("1.2.3"), "the archive does not answer"),
        (OriginThrottledError("1.2.3"), "the archive asks to slow down"),
        (CorruptPayloadError("1.2.3"), "what the archive sends is damaged"),
    ],
)
@pytest.mark.parametrize("where", ["metadata", "frame"])
def test_a_series_in_trouble_is_a_problem_of_its_study_and_the_rest_goes_on(
    run, origin, error, words, where
):
    current, prior = origin.hold(pointer(1), 3), origin.hold(pointer(2), 3)

    def fail(what):
        uid = what.study_instance_uid if where == "metadata" else what.sop_instance_uid
        if uid.startswith("1.2.1"):
            raise error

    setattr(origin, f"before_{where}", fail)
    report = run(current, prior)
    assert report.state == "partial"
    first, second = report.studies
    assert (first.problem, first.frames_verified, first.is_warm) == (words, 0, False)
    assert (second.problem, second.frames_verified, second.is_warm) == ("", 3, True)
    assert "1.2." not in " ".join(report.problems)


def test_an_archive_that_refuses_is_not_asked_for_every_frame(run, origin):
    def refuse(_entry):
        raise AccessDeniedError("no")

    origin.before_frame = refuse
    run(origin.hold(pointer(), 200))
    assert sum(origin.frame_calls.values()) < 20


def test_instances_without_frames_are_a_problem_of_their_study(run, origin):
    series = origin.hold(pointer(), 2)
    origin.series[series] = metadata(series, 2).model_copy(update={"without_frames": 3})
    (study,) = run(series).studies
    assert study.problem == "3 instances cannot be fetched by the frame"
    assert study.frames_verified == 2


def test_a_plan_without_series_is_never_called_warm(run):
    report = run()
    assert (report.state, report.problems) == ("partial", ("the plan names no series",))


def test_an_order_gives_up_at_its_time_and_says_what_is_left(run, origin, clock):
    series, ended = origin.hold(pointer(), 50), threading.Event()

    def late(_entry):
        if sum(origin.frame_calls.values()) > 10:
            clock.advance(61)
            ended.wait(10)

    origin.before_frame = late
    report = run(series)
    ended.set()
    assert report.state == "partial"
    assert "time ran out" in report.problems
    assert report.studies[0].problem == "time ran out"
    assert 0 < report.frames_verified < 50
    assert report.frames_planned == 50
    assert sum(origin.frame_calls.values()) < 50


def test_an_order_that_comes_too_late_fetches_nothing_but_counts_what_is_held(run, origin):
    series, other = origin.hold(pointer(1), 2), origin.hold(pointer(2), 2)
    run(series)
    report = run(series, other, give_up_s=-1)
    assert [study.frames_verified for study in report.studies] == [2, 0]
    assert report.state == "partial"
    assert origin.metadata_calls[other] == 0


def test_planned_counts_are_told_before_a_frame_is_fetched(run, origin):
    series, told = origin.hold(pointer(), 4), []
    first_counts = []
    origin.before_frame = lambda _entry: first_counts.append(told[-1].frames_planned) or None
    run(series, tell=told.append)
    assert first_counts[0] == 4
    assert {report.state for report in told} == {"warming"}
    verified = [report.frames_verified for report in told]
    assert verified == sorted(verified)


def test_only_what_was_read_back_counts_as_verified(run, origin, store, monkeypatch):
    series = origin.hold(pointer(), 4)
    verify = store.verify

    def lossy(origin_id, series, *, frames=None):
        found = verify(origin_id, series, frames=frames)
        return {name for name in found if name[0] != "1.2.1.1.3"}

    monkeypatch.setattr(store, "verify", lossy)
    report = run(series)
    assert (report.state, report.frames_verified, report.frames_warmed) == ("partial", 3, 3)
    assert report.studies[0].problem == "what was written cannot be read back"


def test_two_orders_for_one_study_fetch_each_frame_once(warmer, origin, documents):
    series = origin.hold(pointer(), 30)
    gate = threading.Event()
    origin.before_frame = lambda _entry: gate.wait(10) and None
    reports = []

    def warm(number):
        plan_ = plan(series, prefetch_id=f"p{number}")
        outcome = warmer.run(
            order(documents, plan_), tell=lambda _report: None, stop=threading.Event()
        )
        reports.append(outcome.report)

    threads = [threading.Thread(target=warm, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    eventually(lambda: sum(origin.frame_calls.values()) == 4)
    gate.set()
    for thread in threads:
        thread.join(20)
    assert [report.state for report in reports] == ["warm"] * 3
    assert [report.frames_verified for report in reports] == [30] * 3
    assert set(origin.frame_calls.values()) == {1}
    assert sum(report.frames_fetched for report in reports) == 30


def test_an_order_that_gives_up_leaves_the_frames_to_the_one_that_joined(
    warmer, origin, documents, clock
):
    series = origin.hold(pointer(), 12)
    gate, reports = threading.Event(), {}
    origin.before_frame = lambda _entry: gate.wait(10) and None

    def warm(name, give_up_s):
        plan_ = plan(series, prefetch_id=name)
        outcome = warmer.run(
            order(documents, plan_, give_up_s=give_up_s),
            tell=lambda _report: None,
            stop=threading.Event(),
        )
        reports[name] = outcome.report

    first = threading.Thread(target=warm, args=("leader", 10))
    first.start()
    eventually(lambda: sum(origin.frame_calls.values()) == 4)
    second = threading.Thread(target=warm, args=("follower", 1000))
    second.start()
    clock.advance(20)
    first.join(20)
    gate.set()
    second.join(20)
    assert reports["leader"].state == "partial"
    assert reports["follower"].state == "warm"
    assert set(origin.frame_calls.values()) == {1}


def test_a_full_store_ends_the_order_and_keeps_what_came(
    open_store, open_warmer, origin, documents
):
    store = open_store(limit_bytes=5 << 20)
    series = origin.hold(pointer(), 12, with_checksums=False)
    origin.before_frame = lambda _entry: content(1) + bytes(1 << 20)
    outcome = open_warmer(store).run(
        order(documents, plan(series)), tell=lambda _report: None, stop=threading.Event()
    )
    assert str(outcome.failure) == "store is full"
    assert outcome.report.state == "partial"
    assert outcome.report.studies[0].problem == "store is full"
    assert 0 < len(eventually(lambda: store.verify(ORIGIN, series))) < 12


def test_a_series_purged_while_it_is_warmed_stays_purged(run, origin, store):
    series = origin.hold(pointer(), 20)

    def purge(entry):
        if entry.sop_instance_uid.endswith(".9"):
            store.purge(ORIGIN, series.image_set_id)

    origin.before_frame = purge
    report = run(series)
    assert report.state == "partial"
    assert report.frames_verified == 0
    assert store.rows() == []
    assert list(store._segments.iterdir()) == []


def test_a_stopping_node_leaves_an_order_unanswered(run, origin):
    series, stop, ended = origin.hold(pointer(), 40), threading.Event(), threading.Event()

    def stop_and_wait(_entry):
        stop.set()
        ended.wait(10)

    origin.before_frame = stop_and_wait
    assert run(series, stop=stop) is None
    ended.set()
    assert sum(origin.frame_calls.values()) < 40


def test_a_plan_for_an_unknown_origin_is_refused(warmer, documents):
    elsewhere = plan(pointer()).model_copy(update={"origin_id": "elsewhere"})
    with pytest.raises(InvalidPayloadError):
        warmer.run(order(documents, elsewhere), tell=lambda _report: None, stop=threading.Event())
