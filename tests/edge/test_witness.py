"""What the worker writes down: who may read before a byte comes, what was warmed and purged."""

from datetime import UTC, datetime, timedelta
from threading import Event

import pytest

from teleprefetch.edge.archives.fetching import FetchPool
from teleprefetch.edge.archives.retrieving import Retriever
from teleprefetch.edge.warming.warmer import Warmer
from teleprefetch.edge.warming.witness import Witness
from teleprefetch.errors import NodeUnavailableError
from teleprefetch.model import Assigned, AssignedTo, PlannedPrior, PurgeOrder
from tests.edge.fakes_for_node import ORIGIN, content, order, plan, pointer
from tests.edge.open_doorway import ANYBODY

ASSIGNED = Assigned(
    assignment_id="A-7",
    reading_location="home",
    assigned_to=AssignedTo(issuer=ANYBODY.issuer, subject=ANYBODY.subject),
    patient="c" * 40,
    ends_at=datetime.now(UTC) + timedelta(days=1),
)


class KeptReadings:
    def __init__(self, origin):
        self.kept = []
        self.is_broken = False
        self.fetched_before = None
        self._origin = origin

    def put(self, reading):
        if self.is_broken:
            raise NodeUnavailableError("reading list: broken")
        self.fetched_before = len(self._origin.asked)
        self.kept.append(reading)


class KeptRecords:
    def __init__(self):
        self.kept = []
        self.is_full = False

    def commit(self, record):
        if self.is_full:
            raise NodeUnavailableError("audit: cannot be written")
        self.kept.append(record)


@pytest.fixture
def readings(origin):
    return KeptReadings(origin)


@pytest.fixture
def records():
    return KeptRecords()


@pytest.fixture
def witness(readings, records, store):
    return Witness(readings, records, store)


@pytest.fixture
def run(store, origin, documents, clock, witness):
    pool = FetchPool(2, at_thread_end=store.close_thread)
    warmer = Warmer(
        node="n1",
        store=store,
        pool=pool,
        retriever=Retriever(store, verify_pixels=True),
        origins={ORIGIN: origin},
        documents=documents,
        clock=clock,
        witness=witness,
    )

    def go(plan_, reading=ASSIGNED):
        sent = order(documents, plan_).model_copy(update={"reading": reading})
        return warmer.run(sent, tell=lambda _report: None, stop=Event())

    yield go
    pool.close()


def test_readers_are_let_in_before_a_byte_is_fetched_to_all_ranked_priors(run, origin, readings):
    current, prior = origin.hold(pointer(1), 3), origin.hold(pointer(2), 2)
    left_out = PlannedPrior(study_instance_uid="1.2.9", rank=2, score=1.0, reasons=(), taken=False)
    taken = left_out.model_copy(update={"study_instance_uid": "1.2.2", "rank": 1, "taken": True})
    run(plan(current, prior).model_copy(update={"priors": (taken, left_out)}))
    (reading,) = readings.kept
    assert readings.fetched_before == 0
    assert reading.studies == ("1.2.1", "1.2.2", "1.2.9")
    assert (reading.assignment_id, reading.prefetch_id) == ("A-7", "p1")
    assert reading.assigned_to == ASSIGNED.assigned_to


def test_each_series_that_is_proven_is_recorded(run, origin, records):
    run(plan(origin.hold(pointer(1), 3), origin.hold(pointer(2), 2), pointer(3)))
    told = [(one.study, one.kind, dict(one.detail), one.assignment) for one in records.kept]
    sizes = [detail.pop("bytes") for _, _, detail, _ in told]
    asked = [
        tuple(detail.pop(name) for name in ("metadata_reads", "fetched_frames", "fetched_bytes"))
        for _, _, detail, _ in told
    ]
    assert told == [
        ("1.2.1", "warmed", {"rank": 0, "frames": 3, "frames_planned": 3, "modality": "CT"}, "A-7"),
        ("1.2.2", "warmed", {"rank": 1, "frames": 2, "frames_planned": 2, "modality": "CT"}, "A-7"),
    ]
    assert sizes == [sum(len(content(n)) for n in range(1, count + 1)) for count in (3, 2)]
    assert asked == [(1, 3, sizes[0]), (1, 2, sizes[1])]
    assert {one.patient for one in records.kept} == {"c" * 40}


def test_a_series_that_is_held_already_is_recorded_as_nothing_asked_for(run, origin, records):
    series = origin.hold(pointer(1), 3)
    run(plan(series))
    run(plan(series, prefetch_id="p2"))
    first, second = (dict(one.detail) for one in records.kept)
    asked = ("metadata_reads", "fetched_frames", "fetched_bytes")
    assert [second[name] for name in asked] == [0, 0, 0]
    assert second["frames"] == first["frames"] == 3


def test_a_prior_is_recorded_with_the_rule_that_spoke_most_for_it(run, origin, records):
    prior = PlannedPrior(
        study_instance_uid="1.2.2", rank=1, score=1.0, reasons=(), taken=True, rule="anatomy"
    )
    planned = plan(origin.hold(pointer(1), 1), origin.hold(pointer(2), 1))
    run(planned.model_copy(update={"priors": (prior,)}))
    assert [one.detail.get("rule") for one in records.kept] == [None, "anatomy"]


def test_an_order_without_an_assignment_lets_nobody_in_and_is_recorded(
    run, origin, readings, records
):
    run(plan(origin.hold(pointer(1), 3)), reading=None)
    assert readings.kept == []
    assert [one.order for one in records.kept] == ["p1"]


def test_what_cannot_be_recorded_is_warmed_all_the_same(run, origin, records):
    records.is_full = True
    assert run(plan(origin.hold(pointer(1), 3))).report.state == "warm"


def test_an_order_whose_readers_cannot_be_let_in_fetches_nothing(run, origin, readings):
    readings.is_broken = True
    with pytest.raises(NodeUnavailableError):
        run(plan(origin.hold(pointer(1), 3)))
    assert origin.asked == []


@pytest.mark.parametrize("below", [None, 2])
def test_a_purge_is_recorded_with_what_it_did(run, origin, store, witness, records, below):
    series = origin.hold(pointer(1), 3)
    run(plan(series))
    sent = PurgeOrder(
        node="n1", origin_id=ORIGIN, image_set_id=series.image_set_id, below_version=below
    )
    witness.purge(sent, lambda: store.purge(ORIGIN, series.image_set_id, below))
    told = records.kept[-1]
    assert (told.kind, told.study, told.image_set) == ("purged", "1.2.1", series.image_set_id)
    assert told.detail["frames"] == 3
    assert told.reason == ("deleted at the archive" if below is None else "replaced at the archive")
    assert store.rows() == []


def test_a_purge_is_done_even_if_it_cannot_be_recorded(run, origin, store, witness, records):
    series = origin.hold(pointer(1), 3)
    run(plan(series))
    records.is_full = True
    sent = PurgeOrder(node="n1", origin_id=ORIGIN, image_set_id=series.image_set_id)
    witness.purge(sent, lambda: store.purge(ORIGIN, series.image_set_id, None))
    assert store.rows() == []
