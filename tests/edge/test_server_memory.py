"""Answers from memory: given again as long as they are true, and not once after that."""

import multiprocessing
from types import SimpleNamespace

import pytest

from teleprefetch.edge.dicomweb.messages import Basis, FileSlice, Response
from teleprefetch.edge.dicomweb.places import Place
from teleprefetch.edge.http.descriptors import Descriptor
from teleprefetch.edge.http.links import FilePiece
from teleprefetch.edge.http.remembered import Outgoing, Remembered
from teleprefetch.edge.http.server import EdgeServer
from teleprefetch.edge.store.store import Store
from teleprefetch.edge.watching.board import Figure
from tests.edge.fakes_for_node import ORIGIN, content, dicom_json, eventually, pointer
from tests.edge.open_doorway import OpenDoorway
from tests.edge.served import ALL, FRAME, SERIES, Client, hold

OTHER = f"{SERIES}/instances/1.2.1.1.3/frames/1"


@pytest.fixture
def get(serve_store, board):
    client = Client(serve_store(board=board).port)
    yield client
    client.close()


def until_remembered(get, board, path, **headers):
    """Ask until an answer comes from memory: the first ones learn the file's state."""

    def is_remembered():
        before = board.total(Figure.FROM_MEMORY)
        assert get(path, **headers).status == 200
        get("/healthz")  # what came from memory is counted with the next that does not
        return board.total(Figure.FROM_MEMORY) > before

    eventually(is_remembered)


def test_a_frame_and_metadata_asked_for_again_come_from_memory(get, store, board):
    hold(store, pointer(), 3)
    until_remembered(get, board, FRAME, Accept=ALL)
    until_remembered(get, board, f"{SERIES}/metadata", Accept_Encoding="gzip")
    first, second = get(FRAME, Accept=ALL), get(FRAME, Accept=ALL)
    assert first.content == second.content
    assert content(2) in first.content


def test_what_is_remembered_for_one_client_is_not_given_to_one_that_accepts_otherwise(
    get, store, board
):
    hold(store, pointer(), 3)
    until_remembered(get, board, FRAME, Accept="image/jphc")
    assert get(FRAME, Accept=ALL).headers["Content-Type"].startswith("multipart/related")
    assert get(FRAME, Accept="image/jpeg").status == 406
    until_remembered(get, board, f"{SERIES}/metadata", Accept_Encoding="gzip")
    assert get(f"{SERIES}/metadata").content == dicom_json(pointer(), 3)


def test_a_remembered_frame_is_asked_for_permission_and_recorded_each_time(
    serve_store, store, board
):
    hold(store, pointer(), 3)
    doorway = CountingDoorway()
    client = Client(serve_store(board=board, doorway=doorway).port)
    until_remembered(client, board, FRAME)
    asked, recorded = doorway.asked, len(doorway.lines.kept)
    client(FRAME)
    assert doorway.asked == asked + 1
    assert len(doorway.lines.kept) == recorded + 1
    doorway.lets_in = False
    assert client(FRAME).status == 200  # not from memory: the doorway decides anew
    assert board.total(Figure.FROM_MEMORY) < doorway.asked
    client.close()


class CountingDoorway(OpenDoorway):
    def __init__(self):
        super().__init__()
        self.asked = 0
        self.lets_in = True

    def recall(self, visitor, action, study):
        self.asked += 1
        return super().recall(visitor, action, study) if self.lets_in else None


def test_a_purge_is_seen_by_the_very_next_request(get, store, board):
    hold(store, pointer(), 3)
    until_remembered(get, board, FRAME, Accept=ALL)
    until_remembered(get, board, f"{SERIES}/metadata", Accept_Encoding="gzip")
    store.purge(ORIGIN, pointer().image_set_id)
    assert get(FRAME, Accept=ALL).status == 404
    assert get(f"{SERIES}/metadata", Accept_Encoding="gzip").status == 404


def test_a_purge_by_another_process_is_seen_by_the_very_next_request(get, store, store_path, board):
    hold(store, pointer(), 3)
    until_remembered(get, board, FRAME, Accept=ALL)
    until_remembered(get, board, f"{SERIES}/metadata", Accept_Encoding="gzip")
    other = multiprocessing.get_context("spawn").Process(target=purge, args=(store_path,))
    other.start()
    other.join()
    assert other.exitcode == 0
    assert get(f"{SERIES}/metadata", Accept_Encoding="gzip").status == 404
    assert get(FRAME, Accept=ALL).status == 404


def purge(store_path):
    store = Store(store_path, 1 << 28)
    store.purge(ORIGIN, pointer().image_set_id)
    store.close()


def test_a_newer_version_takes_the_place_of_a_remembered_one(get, store, board):
    hold(store, pointer(), 3)
    until_remembered(get, board, FRAME, Accept="image/jphc")
    hold(store, pointer(version=2), 3, bytes_of=lambda number: content(number + 10))
    assert get(FRAME, Accept="image/jphc").content == content(12)
    assert get(FRAME, Accept="image/jphc").headers["ETag"].startswith('"2-')


def test_another_image_set_that_has_the_frame_too_is_seen_at_once(get, store, board):
    hold(store, pointer(), 3)
    until_remembered(get, board, FRAME, Accept="image/jphc")
    hold(store, pointer(image_set="a" * 32), 3, bytes_of=lambda number: content(number + 10))
    assert get(FRAME, Accept="image/jphc").content == content(12)


def test_rot_in_a_remembered_frame_is_found_before_it_is_sent_again(get, store, board):
    hold(store, pointer(), 3)
    until_remembered(get, board, FRAME, Accept="image/jphc")
    until_remembered(get, board, OTHER, Accept="image/jphc")
    held = store.frames(ORIGIN, pointer())["1.2.1.1.2", 1]
    path = store.frame(store.rows()[0], ("1.2.1.1.2", 1)).path
    with path.open("r+b") as file:
        file.seek(held.offset + 3)
        file.write(b"\0\0\0\0")
    assert get(FRAME, Accept="image/jphc").status == 404
    assert get(OTHER, Accept="image/jphc").content == content(3)


def test_a_remembered_frame_of_a_file_cut_short_is_not_sent(get, store, board):
    hold(store, pointer(), 3)
    until_remembered(get, board, OTHER, Accept="image/jphc")
    path = store.frame(store.rows()[0], ("1.2.1.1.3", 1)).path
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 10)
    assert get(OTHER, Accept="image/jphc").status == 404


def test_frames_that_are_written_meanwhile_are_found(get, store, board):
    hold(store, pointer(), 3)
    until_remembered(get, board, FRAME, Accept="image/jphc")
    for number in range(2, 6):
        hold(store, pointer(number), 2)
        assert get(FRAME, Accept="image/jphc").content == content(2)
        path = f"/dicom-web/studies/1.2.{number}/series/1.2.{number}.1/instances/1.2.{number}.1.2"
        assert get(f"{path}/frames/1", Accept="image/jphc").content == content(2)


class FakeHoldings:
    def __init__(self, *rows):
        self.told = []
        self.compared = 0
        self._revision = 0
        self._held = list(rows)

    @property
    def held(self):
        return self._held

    @held.setter
    def held(self, rows):
        self._held = list(rows)
        self._revision += 1

    def revision(self):
        return self._revision

    def of_study(self, _study):
        self.compared += 1
        return list(self._held)

    def served(self, row, frames):
        self.told.append((row, frames))


@pytest.fixture
def descriptor(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"frame")
    descriptor = Descriptor(path)
    yield descriptor
    descriptor.drop()  # a second time does nothing


KEY = (b"/frame", (None, None, None))


def remember(descriptor, *rows, began_ns=None):
    holdings = FakeHoldings(*rows)
    remembered = Remembered(holdings)
    piece = FilePiece(descriptor, 0, 5)
    outgoing = Outgoing(200, b"", b"", (piece,), 5, "frames", (descriptor,))
    began_ns = descriptor.opened_ns + 1 if began_ns is None else began_ns
    basis = Basis("1.2.1", None, rows)
    remembered.keep(KEY, outgoing, basis, action="frames", pieces=(), began_ns=began_ns)
    return holdings, remembered, outgoing


def found(remembered):
    entry = remembered.find(KEY)
    return entry.outgoing if entry is not None and remembered.is_true(KEY, entry) else None


def test_an_answer_is_forgotten_when_any_row_behind_it_is_another(store, descriptor):
    hold(store, pointer(), 1)
    (row,) = store.rows()
    holdings, remembered, outgoing = remember(descriptor, row)
    assert found(remembered) is outgoing
    holdings.held = [row.model_copy()]
    assert found(remembered) is None
    holdings.held = [row]
    assert found(remembered) is None


def test_rows_are_compared_again_only_once_something_has_changed(store, descriptor):
    hold(store, pointer(), 1)
    (row,) = store.rows()
    holdings, remembered, outgoing = remember(descriptor, row)
    assert [found(remembered) for _ in range(5)] == [outgoing] * 5
    assert holdings.compared == 1
    holdings.held = [row]  # of another study, say
    assert found(remembered) is outgoing
    assert holdings.compared == 2


def test_a_file_that_was_opened_after_its_proof_began_is_not_trusted_yet(store, descriptor):
    hold(store, pointer(), 1)
    (row,) = store.rows()
    _, remembered, _ = remember(descriptor, row, began_ns=descriptor.opened_ns)
    assert found(remembered) is None


def test_a_file_that_is_not_kept_open_any_more_is_not_sent_from(store, descriptor):
    hold(store, pointer(), 1)
    (row,) = store.rows()
    _, remembered, _ = remember(descriptor, row)
    descriptor.drop()
    assert found(remembered) is None


def test_what_was_served_from_memory_is_told_to_the_store(store, descriptor):
    hold(store, pointer(), 1)
    (row,) = store.rows()
    holdings, remembered, _ = remember(descriptor, row)
    for _ in range(3):
        assert found(remembered)
    remembered.tell_served()
    remembered.tell_served()
    assert holdings.told == [(row, 3)]


def test_an_answer_whose_file_has_gone_is_not_remembered_as_gone(
    store, tmp_path, serve_routes, board
):
    hold(store, pointer(), 1)
    path = tmp_path / "file"
    basis = Basis("1.2.1", None, tuple(store.of_study("1.2.1")))
    answer = Response(200, (), (FileSlice(path, 0, 5),), basis)
    routes = SimpleNamespace(
        holdings=store, answer=lambda *_: answer, place_of=lambda _: Place("frames", study="1.2.1")
    )
    client = Client(serve_routes(routes))
    assert [client("/").status for _ in range(3)] == [404] * 3
    path.write_bytes(b"frame")
    assert client("/").content == b"frame"
    client.close()


@pytest.fixture
def serve_routes(store):
    servers = []

    def start(routes):
        server = EdgeServer(
            ("127.0.0.1", 0), routes, at_thread_end=store.close_thread, doorway=OpenDoorway()
        )
        server.start()
        servers.append(server)
        return server.port

    yield start
    for server in servers:
        server.close()
