import threading
import time

import pytest

from teleprefetch.local.healthimaging import DEFAULT_THROTTLES, Rate, Throttles
from teleprefetch.local.healthimaging.throttle import Gate, Link, TokenBucket
from tests.local.healthimaging_fixtures import DATASTORE, Slice, bench, refused


class Hand:
    """A clock that only moves when it is told to; sleeping moves it."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, duration_s: float) -> None:
        self.now += duration_s


@pytest.mark.parametrize(
    ("operation", "rate"),
    [
        ("StartDICOMImportJob", Rate(1, 2)),
        ("GetDICOMImportJob", Rate(25, 50)),
        ("ListDICOMImportJobs", Rate(10, 20)),
        ("SearchImageSets", Rate(25, 50)),
        ("GetImageSet", Rate(25, 50)),
        ("GetImageSetMetadata", Rate(50, 100)),
        ("GetImageFrame", Rate(1000, 2000)),
        ("ListImageSetVersions", Rate(25, 50)),
        ("DeleteImageSet", Rate(0.25, 1)),
        ("GetDICOMInstance", Rate(50, 100)),
        ("GetDICOMInstanceMetadata", Rate(50, 100)),
        ("GetDICOMInstanceFrames", Rate(50, 100)),
        ("GetDICOMSeriesMetadata", Rate(50, 100)),
    ],
)
def test_the_defaults_are_those_of_an_account(operation: str, rate: Rate) -> None:
    assert DEFAULT_THROTTLES.rates[operation] == rate


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    clock = Hand()
    bucket = TokenBucket(Rate(8, 5), clock)
    assert [bucket.take() for _ in range(6)] == [True] * 5 + [False]
    clock.now += 0.125
    assert [bucket.take() for _ in range(2)] == [True, False]
    clock.now += 60
    assert sum(bucket.take() for _ in range(100)) == 5


def test_a_gate_throttles_each_operation_alone() -> None:
    gate = Gate(Throttles().replace(Slow=Rate(1, 1)), Hand())
    assert [gate.admits("Slow") for _ in range(2)] == [True, False]
    assert all(gate.admits("Fast") for _ in range(100))


def test_a_gate_can_be_shut_for_a_while_or_until_it_is_opened() -> None:
    clock = Hand()
    gate = Gate(Throttles(), clock)
    gate.shut("One", 5)
    assert (gate.admits("One"), gate.admits("Other")) == (False, True)
    clock.now += 5
    assert gate.admits("One")
    gate.shut(None, float("inf"))
    assert not gate.admits("Other")
    gate.open(None)
    assert gate.admits("Other")


def test_a_link_never_carries_more_than_its_bandwidth() -> None:
    clock = Hand()
    link = Link(8_000, clock=clock, sleep=clock.sleep)
    for _ in range(10):
        link.carry(100)
    assert clock.now == pytest.approx(101.0)
    clock.now += 60
    link.carry(1000)
    assert clock.now == pytest.approx(162.0)


def test_requests_over_the_rate_are_answered_with_429() -> None:
    with bench(throttles=Throttles().replace(ListDatastores=Rate(0.001, 2))) as running:
        for _ in range(2):
            running.client.list_datastores()
        with refused(429, "ThrottlingException"):
            running.client.list_datastores()
        assert running.ahi.request_log.counts() == {
            ("ListDatastores", 200): 2,
            ("ListDatastores", 429): 1,
        }
        running.ahi.set_throttle("ListDatastores", None)
        running.client.list_datastores()


def test_a_test_can_make_operations_answer_429() -> None:
    with bench() as running:
        running.ahi.throttle_operation("GetDatastore")
        with refused(429, "ThrottlingException"):
            running.client.get_datastore(datastoreId=DATASTORE)
        running.client.list_datastores()
        running.ahi.end_throttling("GetDatastore")
        running.ahi.throttle_all()
        with refused(429, "ThrottlingException"):
            running.client.list_datastores()
        assert running.signed("/studies").status == 429
        running.ahi.end_throttling()
        running.client.get_datastore(datastoreId=DATASTORE)


def test_frames_share_one_link_however_many_connections_fetch_them() -> None:
    slices = {f"{n}.dcm": Slice(instance=f"1.2.3.1.{n}", number=n).p10() for n in range(1, 9)}
    with bench(bandwidth_bps=800_000) as running:
        running.imports(slices)
        (row,) = running.image_sets()
        image_set_id = row["imageSetId"]
        ids = [
            instance["ImageFrames"][0]["ID"]
            for instance in running.instances(image_set_id).values()
        ]
        sizes: list[int] = []
        threads = [
            threading.Thread(
                target=lambda each: sizes.append(len(running.frame(image_set_id, each)[0])),
                args=(each,),
            )
            for each in ids
        ]
        started = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(sizes) == len(ids)
        assert time.monotonic() - started >= sum(sizes) * 8 / 800_000
