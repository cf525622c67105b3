"""What is not held is read through, on threads that nobody else waits for."""

import gzip
import json
import threading

import pytest

from teleprefetch.errors import (
    AccessDeniedError,
    CorruptPayloadError,
    NodeUnavailableError,
    OriginThrottledError,
    OriginUnavailableError,
    StudyNotFoundError,
)
from tests.edge.fakes_for_node import content, dicom_json, pointer
from tests.edge.served import ALL, FRAME, SERIES, Client, hold


class FakeMisses:
    """An archive that is held on demand; `before` may raise or block."""

    def __init__(self, store):
        self.store = store
        self.asked = []
        self.bearers = []
        self.lock = threading.Lock()
        self.before = lambda: None

    def _fetch(self, *asked):
        self.asked.append(asked)
        self.before()
        with self.lock:
            if not self.store.of_study("1.2.1"):
                hold(self.store, pointer(), 3)

    def frames(self, study, series, sop, numbers, *, bearer):
        self.bearers.append(bearer)
        self._fetch("frames", study, series, sop, list(numbers))
        row = self.store.of_study(study)[0]
        found = [self.store.frame(row, (sop, number)) for number in numbers]
        if None in found:
            raise StudyNotFoundError("frame: the archive does not hold it")
        return found

    def metadata(self, study, series, *, bearer):
        self.bearers.append(bearer)
        self._fetch("metadata", study, series)
        return gzip.compress(dicom_json(pointer(), 3))

    def study(self, study, *, bearer):
        self.bearers.append(bearer)
        self._fetch("study", study)
        if study != "1.2.1":
            raise StudyNotFoundError("study: the archive does not hold it")

    def retry_after_s(self):
        return 7


@pytest.fixture
def misses(store):
    return FakeMisses(store)


@pytest.fixture
def get(serve_store, misses):
    client = Client(serve_store(misses=misses).port)
    yield client
    client.close()


def test_the_archive_can_be_asked_with_the_token_that_the_reader_sent(get, misses):
    get(FRAME, accept=ALL, authorization="Bearer of-the-reader")
    get("/dicom-web/studies/1.2.9/metadata", authorization="Bearer of-another")
    get("/dicom-web/studies/1.2.8/series/1.2.8.1/metadata")
    assert misses.bearers == ["of-the-reader", "of-another", ""]


def test_a_frame_that_is_not_held_is_fetched_and_then_held(get, misses):
    assert get(FRAME, Accept="image/jphc").content == content(2)
    assert misses.asked == [("frames", "1.2.1", "1.2.1.1", "1.2.1.1.2", [1])]
    assert get(FRAME, Accept="image/jphc").content == content(2)
    assert len(misses.asked) == 1


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        (f"{SERIES}/metadata", "metadata"),
        (f"{SERIES}/instances", "metadata"),
        (f"{SERIES}/instances/1.2.1.1.2/metadata", "metadata"),
        ("/dicom-web/studies/1.2.1/series", "study"),
        ("/dicom-web/studies/1.2.1/metadata", "study"),
        ("/dicom-web/studies?StudyInstanceUID=1.2.1", "study"),
    ],
)
def test_what_is_told_of_a_study_is_fetched_too(get, misses, path, asked):
    assert json.loads(get(path).content)
    assert [kind for kind, *_ in misses.asked] == [asked]


def test_a_study_that_nobody_holds_is_an_empty_answer_to_a_search(get, misses):
    misses.before = lambda: hold(misses.store, pointer(2), 1)
    assert get("/dicom-web/studies?StudyInstanceUID=1.2.9").status == 204
    assert get("/dicom-web/studies?PatientID=P9").status == 204
    assert [kind for kind, *_ in misses.asked] == ["study"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OriginUnavailableError("archive: no answer"), 502),
        (OriginThrottledError("archive: too many"), 503),
        (CorruptPayloadError("frame: damaged"), 502),
        (AccessDeniedError("archive: refused"), 502),
        (NodeUnavailableError("store: the disk is full"), 503),
    ],
)
@pytest.mark.parametrize("path", [FRAME, f"{SERIES}/metadata", f"{SERIES}/instances/1.2.1.1.2"])
def test_a_failing_archive_is_told_as_it_is_and_never_kept(get, misses, error, status, path):
    def fail():
        raise error

    misses.before = fail
    answer = get(path)
    assert (answer.status, answer.headers["Retry-After"]) == (status, "7")
    assert answer.headers["Cache-Control"] == "no-store"
    assert get(path).status == status
    assert len(misses.asked) == 2
    misses.before = lambda: None
    assert get(path, Accept="*/*").status == 200


def test_what_the_archive_does_not_hold_is_not_found(get):
    assert get(f"{SERIES}/instances/1.2.1.1.9/frames/1").status == 404
    assert get(f"{SERIES}/instances/1.2.1.1.2/frames/2").status == 404


def test_what_is_malformed_never_reaches_the_archive(get, misses):
    assert get(FRAME.replace("1.2.1.1.2", "1.2.1.1.02")).status == 400
    assert get(FRAME.replace("frames/1", "frames/x")).status == 400
    assert get("/dicom-web/studies?StudyInstanceUID=..%2F").status == 204
    assert misses.asked == []


def test_an_archive_that_hangs_holds_up_nobody_who_asks_for_what_is_held(
    serve_store, misses, store
):
    hold(store, pointer(2), 2)
    released = threading.Event()
    misses.before = released.wait
    server = serve_store(misses=misses, origin_threads=4)
    waiting = [Client(server.port) for _ in range(8)]
    for one in waiting:
        one.connection.request("GET", FRAME, headers={"Accept": "image/jphc"})
    client = Client(server.port)
    held = "/dicom-web/studies/1.2.2/series/1.2.2.1/instances/1.2.2.1.2/frames/1"
    for _ in range(20):
        assert client(held, Accept="image/jphc").content == content(2)
        assert client("/dicom-web/studies/1.2.2/series").status == 200
    released.set()
    assert [one.connection.getresponse().read() for one in waiting] == [content(2)] * 8
    for one in (*waiting, client):
        one.close()


def test_too_many_waits_for_the_archive_are_refused_at_once(serve_store, misses, store):
    released = threading.Event()
    misses.before = released.wait
    server = serve_store(misses=misses, origin_threads=1, most_waiting=2)
    clients = [Client(server.port) for _ in range(6)]
    for one in clients:
        one.connection.request("GET", FRAME, headers={"Accept": "image/jphc"})
    refused = clients[-1].connection.getresponse()
    assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
    refused.read()
    released.set()
    for one in clients:
        one.close()


def test_warm_proofs_are_never_fetched(get, misses):
    assert get("/warm/studies/1.2.1").status == 404
    assert misses.asked == []


def test_an_unexpected_error_is_an_answer_and_not_the_end(get, misses, caplog):
    def fail():
        raise ZeroDivisionError

    misses.before = fail
    assert get(FRAME, Accept=ALL).status == 500
    misses.before = lambda: None
    assert get(FRAME, Accept="image/jphc").content == content(2)
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [
        ZeroDivisionError
    ]
