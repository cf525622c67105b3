"""Clients that are slow, many, or gone: what they take is bounded, and others do not notice."""

import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from teleprefetch.dicom import EXPLICIT_VR_LITTLE_ENDIAN
from teleprefetch.edge.http.crowd import Limits
from teleprefetch.edge.watching.board import Figure
from tests.edge.fakes_for_node import ORIGIN, content, eventually, pointer
from tests.edge.served import FRAME, Client, Raw, hold, took_s

HEAD = "GET /healthz HTTP/1.1\r\nHost: node\r\n\r\n"
BIG = bytes(range(256)) * 100_000
OCTETS = "Accept: application/octet-stream; transfer-syntax=*\r\n"
GET_FRAME = f"GET {FRAME} HTTP/1.1\r\nHost: node\r\n{OCTETS}\r\n"


def test_a_head_that_is_not_finished_in_time_is_refused(serve_store):
    port = serve_store(limits=Limits(head_s=0.3)).port
    with Raw(port) as client:
        heard = client.say("GET /healthz HTTP/1.1\r\nHost: no").hear_all(within_s=5)
    assert heard.startswith(b"HTTP/1.1 408 ")


def test_a_head_that_drips_in_gets_no_more_time_than_another(serve_store):
    port = serve_store(limits=Limits(head_s=0.5)).port
    with Raw(port) as client:

        def drip():
            for byte in HEAD * 100:
                client.say(byte)
                if client.is_closed(within_s=0.02):
                    return
            pytest.fail("it was never closed")

        # The refusal may be heard first, or its reset felt first.
        with suppress(ConnectionError):
            assert took_s(drip) < 4
        assert client.is_closed()


def test_a_connection_that_waits_too_long_is_closed(serve_store):
    port = serve_store(limits=Limits(idle_s=0.3)).port
    with Raw(port) as never_asked, Raw(port) as asked:
        asked.say(HEAD).hear_answer()
        assert asked.is_closed()
        assert never_asked.is_closed()


def test_five_hundred_idle_connections_keep_nobody_out(serve_store, store, board):
    hold(store, pointer(), 3)
    port = serve_store(limits=Limits(per_address=64), board=board).port
    idle = [Raw(port).say("GET /half") for _ in range(500)]
    try:
        client = Client(port)
        assert client(FRAME, Accept="image/jphc").content == content(2)
        client.close()
        eventually(lambda: board.total(Figure.CONNECTIONS_EVICTED) >= 500 - 64)
        eventually(lambda: board.total(Figure.CONNECTIONS) <= 64)
    finally:
        for one in idle:
            one.close()


def test_the_longest_waiting_connection_makes_room(serve_store):
    port = serve_store(limits=Limits(per_address=2)).port
    with Raw(port) as first, Raw(port) as second:
        first.say(HEAD).hear_answer()
        second.say(HEAD).hear_answer()
        ends = time.monotonic() + 0.02  # the loop's clock counts milliseconds
        while time.monotonic() < ends:
            first.say(HEAD).hear_answer()
        with Raw(port) as third:
            third.say(HEAD).hear_answer()
            assert second.is_closed()
            assert first.say(HEAD).hear_answer()[0] == 200


def test_a_connection_too_many_is_refused_while_all_others_are_answered(serve_store, store):
    hold(store, pointer(), 2, syntax=EXPLICIT_VR_LITTLE_ENDIAN, bytes_of=lambda _: BIG)
    port = serve_store(limits=Limits(per_address=2)).port
    with Raw(port, receive_bytes=4096) as first, Raw(port, receive_bytes=4096) as second:
        for busy in (first, second):
            busy.say(GET_FRAME).hear(1000)
        with Raw(port) as third:
            assert third.hear_all().startswith(b"HTTP/1.1 503 ") or third.is_closed()


def test_the_cap_in_all_holds_too(serve_store, board):
    port = serve_store(limits=Limits(connections=8), board=board).port
    clients = [Raw(port).say("GET") for _ in range(20)]
    eventually(lambda: board.total(Figure.CONNECTIONS_EVICTED) >= 12)
    eventually(lambda: board.total(Figure.CONNECTIONS) == 8)
    for one in clients:
        one.close()


def test_a_client_that_stops_reading_is_given_up(serve_store, store, board):
    hold(store, pointer(), 2, syntax=EXPLICIT_VR_LITTLE_ENDIAN, bytes_of=lambda _: BIG)
    port = serve_store(limits=Limits(stall_s=0.5), board=board).port
    with Raw(port, receive_bytes=4096) as client:
        client.say(GET_FRAME).hear(1000)
        eventually(lambda: board.total(Figure.ANSWERS_CUT) == 1)
        eventually(lambda: board.total(Figure.CONNECTIONS) == 0)


def test_a_client_that_reads_a_little_now_and_then_is_given_up_too(serve_store, store, board):
    hold(store, pointer(), 2, syntax=EXPLICIT_VR_LITTLE_ENDIAN, bytes_of=lambda _: BIG)
    limits = Limits(stall_s=1.0, slowest_bytes_per_s=50_000_000)
    port = serve_store(limits=limits, board=board).port
    with Raw(port, receive_bytes=4096) as client:
        client.say(GET_FRAME)

        def read_until_cut():
            while board.total(Figure.ANSWERS_CUT) == 0:
                client.hear(2000)
                time.sleep(0.01)

        assert took_s(read_until_cut) < 5


def test_a_slow_reader_gets_all_of_it_and_holds_nobody_up(serve_store, store):
    hold(store, pointer(), 2, syntax=EXPLICIT_VR_LITTLE_ENDIAN, bytes_of=lambda _: BIG)
    port = serve_store().port
    with Raw(port, receive_bytes=4096) as slow:
        slow.say(GET_FRAME + HEAD)
        client = Client(port)
        for _ in range(20):
            assert took_s(lambda: client("/healthz")) < 1
        assert client(FRAME, Accept="application/octet-stream").content == BIG
        client.close()
        status, body = slow.hear_answer()
        assert (status, body == BIG) == (200, True)
        assert slow.hear_answer()[0] == 200


def test_a_client_that_floods_requests_and_never_reads_is_held_back(serve_store, store, board):
    hold(store, pointer(), 2, syntax=EXPLICIT_VR_LITTLE_ENDIAN, bytes_of=lambda _: BIG)
    port = serve_store(limits=Limits(stall_s=1.0), board=board).port
    with Raw(port, receive_bytes=4096) as client:
        client.socket.settimeout(0.5)
        sent = 0
        with suppress(TimeoutError, ConnectionError):
            while sent < 32 << 20:
                sent += client.socket.send((GET_FRAME * 50).encode())
        assert sent < 16 << 20  # what the buffers of the two sockets hold, not more
        eventually(lambda: board.total(Figure.CONNECTIONS) == 0)


def test_a_client_that_leaves_in_the_middle_leaves_nothing_behind(serve_store, store, board):
    hold(store, pointer(), 2, syntax=EXPLICIT_VR_LITTLE_ENDIAN, bytes_of=lambda _: BIG)
    port = serve_store(board=board).port
    for _ in range(20):
        with Raw(port, receive_bytes=4096) as client:
            client.say(GET_FRAME).hear(1000)
    eventually(lambda: board.total(Figure.CONNECTIONS) == 0)
    eventually(lambda: board.total(Figure.ANSWERS_CUT) == 20)
    store.purge(ORIGIN, pointer().image_set_id)
    eventually(lambda: not _open_but_unlinked())


def test_an_answer_under_way_ends_when_the_server_stops(serve_store, store):
    hold(store, pointer(), 2, syntax=EXPLICIT_VR_LITTLE_ENDIAN, bytes_of=lambda _: BIG)
    server = serve_store(limits=Limits(stop_s=60))
    with Raw(server.port, receive_bytes=1 << 16) as client, Raw(server.port) as idle:
        idle.say(HEAD).hear_answer()
        client.say(GET_FRAME).hear(1000)
        stopping = threading.Thread(target=server.close)
        stopping.start()
        assert idle.is_closed()
        assert client.hear_all().endswith(BIG[-5000:])
        stopping.join(5)
        assert not stopping.is_alive()


def test_a_stopping_server_does_not_wait_for_ever(serve_store, store):
    hold(store, pointer(), 2, syntax=EXPLICIT_VR_LITTLE_ENDIAN, bytes_of=lambda _: BIG)
    server = serve_store(limits=Limits(stop_s=0.3))
    with Raw(server.port, receive_bytes=4096) as client:
        client.say(GET_FRAME).hear(1000)
        assert took_s(server.close) < 3


def test_a_purge_while_a_frame_is_sent_mixes_no_bytes_and_frees_the_disk(serve_store, store):
    hold(store, pointer(), 2, syntax=EXPLICIT_VR_LITTLE_ENDIAN, bytes_of=lambda _: BIG)
    port = serve_store().port
    with Raw(port, receive_bytes=1 << 16) as client:
        client.say(GET_FRAME).hear(1000)
        store.purge(ORIGIN, pointer().image_set_id)
        with Raw(port) as other:
            assert other.say(GET_FRAME).hear_answer()[0] == 404
        client.socket.shutdown(1)
        assert client.hear_all().endswith(BIG[1000:])
    eventually(lambda: not _open_but_unlinked())


def test_a_file_that_is_cut_short_while_it_is_sent_ends_the_connection(serve_store, store, board):
    hold(store, pointer(), 2, syntax=EXPLICIT_VR_LITTLE_ENDIAN, bytes_of=lambda _: BIG)
    port = serve_store(board=board).port
    path = store.frame(store.rows()[0], ("1.2.1.1.2", 1)).path
    with Raw(port, receive_bytes=1 << 16) as client:
        client.say(GET_FRAME).hear(1000)
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size - len(BIG) // 2)
        assert len(client.hear_all()) < len(BIG) - 1000
        eventually(lambda: board.total(Figure.ANSWERS_CUT) == 1)
    other = Client(port)
    assert other("/healthz").status == 200
    other.close()


def _open_but_unlinked():
    names = (_target(path) for path in Path("/proc/self/fd").iterdir())
    return [name for name in names if name.endswith(" (deleted)") and ".seg" in name]


def _target(path):
    try:
        return str(path.readlink())
    except FileNotFoundError:
        return ""
