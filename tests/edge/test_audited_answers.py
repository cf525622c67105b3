"""Each answer has its record, durable before its first byte; what happens when it cannot be."""

import errno
import json
import random
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleprefetch.edge.access.stencil import composed, pieces_of_answer, pieces_of_reader
from teleprefetch.edge.audit import lane as lane_module
from teleprefetch.edge.audit.reading import verify
from teleprefetch.edge.policy.gatekeeper import Grant
from teleprefetch.edge.policy.recording import Answer, record_of
from teleprefetch.edge.watching.board import Figure
from tests.edge.doors import bearer, reading, token
from tests.edge.fakes_for_node import content, eventually, pointer
from tests.edge.open_doorway import OpenDoorway
from tests.edge.served import FRAME, SERIES, Client, Raw, hold
from tests.edge.test_server_memory import until_remembered
from tests.policy_builders import a_principal

OTHER = f"{SERIES}/instances/1.2.1.1.3/frames/1"
IMAGE = {"Accept": "image/jphc"}


@pytest.fixture
def ask(serve_store, door, store, board):
    hold(store, pointer(), 3)
    client = Client(serve_store(doorway=door.doorway, board=board).port)
    yield client
    client.close()


def test_every_answer_has_one_record_that_says_what_was_sent(ask, door):
    mine = bearer(token())
    tag = ask(FRAME, **mine, **IMAGE).headers["ETag"]
    asked = [
        (200, FRAME, IMAGE, "GET"),
        (200, FRAME, IMAGE, "HEAD"),
        (206, FRAME, IMAGE | {"Range": "bytes=0-9"}, "GET"),
        (304, FRAME, IMAGE | {"If-None-Match": tag}, "GET"),
        (406, FRAME, {"Accept": "image/webp"}, "GET"),
        (416, FRAME, IMAGE | {"Range": "bytes=999999-"}, "GET"),
        (400, f"{SERIES}/instances/1.2.1.1.2/frames/0", {}, "GET"),
        (404, f"{SERIES}/instances/1.2.1.1.2/frames/7", {}, "GET"),
        (400, "/dicom-web/studies/1..2/metadata", {}, "GET"),
        (200, f"{SERIES}/metadata", {"X-Request-Id": "r-1"}, "GET"),
    ]
    before = len(door.records())
    for status, path, headers, method in asked:
        assert ask(path, method=method, **mine, **headers).status == status
    told = door.records()[before:]
    assert [record.status for record in told] == [status for status, *_ in asked]
    whole, head, part, known, *_ = told
    assert (whole.series, whole.instance, whole.frames) == ("1.2.1.1", "1.2.1.1.2", "1")
    assert (whole.version, whole.image_set) == ("1", pointer().image_set_id)
    assert (whole.source, whole.size_bytes, whole.content) == (
        "hit",
        len(content(2)),
        tag.strip('"'),
    )
    assert (whole.token, whole.subject, whole.assignment) == (
        "jti:t-reader-1",
        "reader-1",
        "A-1.2.1",
    )
    assert (whole.policies, whole.client) == (("assigned",), "127.0.0.1")
    assert [record.size_bytes for record in (head, part, known)] == [0, 10, 0]
    assert told[-1].request == "r-1"
    assert all(not record.version for record in told if record.status >= 400)


def test_many_requests_at_once_have_each_its_record(serve_store, door, store, board):
    """Scenario 37: what was served against what was recorded, over a run of mixed requests."""
    hold(store, pointer(), 3)
    hold(store, pointer(5), 2)
    door.readings.put(reading("1.2.5", to="reader-2"))
    port = serve_store(doorway=door.doorway, board=board).port
    frames = [FRAME, OTHER, f"{SERIES}/metadata", "/dicom-web/studies"]
    chance = random.Random(7)  # noqa: S311
    heads = {
        "reader-1": f"Authorization: Bearer {token()}\r\n",
        "reader-2": f"Authorization: Bearer {token('reader-2')}\r\n",
        "nobody": "",
    }
    wanted = []
    for _ in range(20):
        asked = [(chance.choice(list(heads)), chance.choice(frames)) for _ in range(15)]
        text = "".join(
            f"GET {path} HTTP/1.1\r\nHost: node\r\nAccept: */*\r\n{heads[who]}\r\n"
            for who, path in asked
        )
        with Raw(port) as client:
            client.say(text)
            for who, path in asked:
                status, body = client.hear_answer()
                wanted.append((status, "" if who == "nobody" else who, len(body), path))
    told = door.records()
    assert len(told) == len(wanted)
    sent = sorted((status, who, size) for status, who, size, _ in wanted if status == 200)
    served = [record for record in told if record.status == 200]
    assert sorted((one.status, one.subject, one.size_bytes) for one in served) == sent
    assert all(one.token and one.source and one.policies for one in served)
    with_version = [one for one in served if one.action != "search"]
    assert all(one.version == "1" and one.image_set for one in with_version)
    assert {one.subject for one in with_version} == {"reader-1"}


def test_nothing_is_sent_before_the_record_is_durable(serve_store, store, board):
    hold(store, pointer(), 3)
    doorway = OpenDoorway()
    port = serve_store(doorway=doorway, board=board).port
    doorway.lines.hold = True
    with Raw(port) as client:
        client.say(f"GET {FRAME} HTTP/1.1\r\nHost: node\r\n\r\n")
        eventually(lambda: doorway.lines.waiting)
        client.socket.settimeout(0.1)
        with pytest.raises(TimeoutError):
            client.socket.recv(1)
        client.socket.settimeout(10)
        doorway.lines.let_go()
        assert client.hear_answer()[0] == 200


def test_pipelined_requests_keep_their_order_while_records_wait(serve_store, store, board):
    hold(store, pointer(), 3)
    doorway = OpenDoorway()
    client = Client(serve_store(doorway=doorway, board=board).port)
    for path in (FRAME, OTHER):
        until_remembered(client, board, path)
    with Raw(client.connection.port) as raw:
        doorway.lines.hold = True
        head = " HTTP/1.1\r\nHost: node\r\nAccept: image/jphc\r\n\r\n"
        for path in (FRAME, OTHER, "/healthz", FRAME):
            raw.say(f"GET {path}{head}")
        eventually(lambda: doorway.lines.waiting)
        doorway.lines.let_go()
        bodies = [raw.hear_answer()[1] for _ in range(4)]
    assert bodies[0] == bodies[3] == content(2)
    assert bodies[1] == content(3)
    assert b"ok" in bodies[2]
    client.close()


def test_a_client_that_leaves_while_its_record_is_written_leaves_the_record_alone(
    serve_store, store, board
):
    hold(store, pointer(), 3)
    doorway = OpenDoorway()
    port = serve_store(doorway=doorway, board=board).port
    doorway.lines.hold = True
    recorded = len(doorway.lines.kept)
    with Raw(port) as client:
        client.say(f"GET {FRAME} HTTP/1.1\r\nHost: node\r\n\r\n")
        eventually(lambda: doorway.lines.waiting)
    eventually(lambda: board.total(Figure.CONNECTIONS) == 0)
    doorway.lines.let_go()
    assert len(doorway.lines.kept) == recorded + 1
    client = Client(port)
    assert client(FRAME, **IMAGE).content == content(2)
    client.close()


def test_a_file_stays_open_while_its_record_is_written(serve_store, store, store_path, board):
    hold(store, pointer(), 3)
    doorway = OpenDoorway()
    client = Client(serve_store(doorway=doorway, board=board).port)
    until_remembered(client, board, FRAME, **IMAGE)
    with Raw(client.connection.port) as raw:
        doorway.lines.hold = True
        raw.say(f"GET {FRAME} HTTP/1.1\r\nHost: node\r\nAccept: image/jphc\r\n\r\n")
        eventually(lambda: doorway.lines.waiting)
        store.purge("archive", pointer().image_set_id)
        sweeps = doorway.sweeps + 2
        eventually(lambda: doorway.sweeps >= sweeps)  # the server closes files that are gone
        doorway.lines.let_go()
        assert raw.hear_answer() == (200, content(2))
    eventually(lambda: not open_though_gone(store_path))
    client.close()


def open_though_gone(folder):
    """The files below a folder that this process has open and that are deleted."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(str(link.readlink()))
    return [one for one in found if one.startswith(str(folder)) and one.endswith("(deleted)")]


@pytest.fixture
def break_disk(monkeypatch):
    """Makes every write of the audit fail until it is undone."""
    broken = [False]
    real = lane_module.os.pwrite

    def pwrite(descriptor, content, offset):
        if broken[0]:
            raise OSError(errno.ENOSPC, "injected")
        return real(descriptor, content, offset)

    monkeypatch.setattr(lane_module.os, "pwrite", pwrite)
    return broken


def test_without_a_record_nothing_is_sent(ask, door, break_disk):
    mine = bearer(token())
    assert ask(FRAME, **mine, **IMAGE).content == content(2)
    break_disk[0] = True
    for path in (FRAME, f"{SERIES}/metadata", "/dicom-web/studies"):
        answer = ask(path, **mine)
        assert answer.status == 503
        assert "Retry-After" in answer.headers
        assert b"cannot be recorded" in answer.content
    assert ask(FRAME).status == 503  # a refusal has a record too
    assert door.log.is_failing
    break_disk[0] = False
    door.log.try_again()
    eventually(lambda: not door.log.is_failing)
    assert ask(FRAME, **mine, **IMAGE).content == content(2)
    (gap,) = door.records("gap")
    assert gap.detail["denied"] >= 4


def test_in_an_emergency_reads_go_on_and_are_recorded_late(
    open_door, serve_store, store, board, break_disk
):
    hold(store, pointer(), 3)
    door = open_door(on_full="emergency-allow")
    client = Client(serve_store(doorway=door.doorway, board=board).port)
    mine = bearer(token())
    until_remembered(client, board, FRAME, **IMAGE, **mine)
    break_disk[0] = True
    before = len(door.records("served"))
    for _ in range(5):
        assert client(FRAME, **IMAGE, **mine).content == content(2)
    assert len(door.records("served")) == before
    break_disk[0] = False
    door.log.try_again()
    eventually(lambda: not door.log.is_failing)
    assert len(door.records("served")) == before + 5
    client.close()


def test_a_slow_disk_holds_answers_up_and_not_the_server(ask, door, monkeypatch):
    real = lane_module.os.fdatasync

    def slow(descriptor):
        time.sleep(0.05)
        real(descriptor)

    monkeypatch.setattr(lane_module.os, "fdatasync", slow)
    mine = bearer(token())
    statuses = [ask(FRAME, **mine).status for _ in range(3)]
    assert statuses == [200] * 3
    assert not door.log.write_now([("served", b"{}")])


def test_the_audit_of_a_run_is_sound(ask, door):
    for who in (token(), token("reader-2"), ""):
        ask(FRAME, **bearer(who))
    verdict = verify(door.folder, checkpoints={}, is_signed=None)
    assert verdict.is_sound, verdict.findings


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@given(
    st.fixed_dictionaries(
        {
            "series": TEXT, "instance": TEXT, "frames": TEXT, "image_set": TEXT, "version": TEXT,
            "content": TEXT, "source": st.sampled_from(["hit", "origin", ""]),
            "size_bytes": st.integers(0, 1 << 40), "status": st.integers(200, 599),
        }
    ),
    st.fixed_dictionaries(
        {
            "policies": st.lists(TEXT, max_size=3).map(tuple), "policy_set": TEXT,
            "is_break_glass": st.booleans(), "assignment": TEXT, "order": TEXT,
            "origin_id": TEXT, "patient": TEXT,
        }
    ),
    st.fixed_dictionaries(
        {"subject": TEXT, "site": st.none() | TEXT, "token_id": st.none() | TEXT}
    ),
    TEXT,
)  # fmt: skip
def test_a_record_composed_of_pieces_is_the_record(answer, grant, principal, reason):
    asked = OpenDoorway().visitor.asked("frames", "1.2.1")
    asked = type(asked)(
        principal=a_principal(**principal),
        action="frames",
        study="1.2.1",
        client="10.0.0.1",
        break_glass=reason,
    )
    verdict, sent = Grant(**grant), Answer(**answer)
    parts = pieces_of_reader(asked, verdict), pieces_of_answer(sent)
    pieces = composed(*parts)
    assert pieces == record_of(asked, verdict, sent).canonical()
    named = replace(sent, request="r-1.a")
    assert composed(*parts, request_id="r-1.a") == record_of(asked, verdict, named).canonical()
    assert json.loads(pieces)["action"] == "frames"
