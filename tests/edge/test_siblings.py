"""A node of several processes: one port, one store, one set of counters."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from teleprefetch.edge.audit.reading import entries
from teleprefetch.edge.policy.reading_list import ReadingList
from teleprefetch.edge.siblings import environment_of
from teleprefetch.edge.watching.access import Note
from teleprefetch.edge.watching.board import Board, Figure
from teleprefetch.model import AssignedTo
from teleprefetch.settings import NodeSettings, from_environment
from tests.edge.doors import bearer, reading
from tests.edge.fakes_for_node import ORIGIN, content, eventually, pointer
from tests.edge.served import FRAME, Client, hold
from tests.loopback_issuer import SUBJECT, Issuer


@pytest.fixture
def issuer():
    issuer = Issuer()
    yield issuer
    issuer.close()


@pytest.fixture
def environment(store_path, issuer):
    return issuer.settings | {
        "NODE": "n1",
        "QUEUE_URL": "http://127.0.0.1:1/queue",
        "ORIGINS": json.dumps({ORIGIN: {"kind": "dicomweb", "url": "http://127.0.0.1:1"}}),
        "TABLE_NAME": "table",
        "STORE_PATH": str(store_path),
        "STORE_BYTES": str(1 << 28),
        "PORT": "0",
        "FETCH_CONCURRENCY": "4",
        "SERVER_PROCESSES": "3",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
    }


@pytest.fixture
def reader(issuer, store_path, store):
    """The headers of a reader who is assigned the study."""
    readings = ReadingList(store_path / "readings.sqlite")
    readings.put(reading(assigned_to=AssignedTo(issuer=issuer.issuer, subject=SUBJECT)))
    readings.close()
    return bearer(issuer.token("readers"))


@pytest.fixture
def node(environment, store, tmp_path):
    hold(store, pointer(), 3)
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "teleprefetch.edge"],
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=log,
        )
    process.port = int(process.stdout.readline().rsplit(b":", 1)[1])
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def children_of(process):
    listed = []
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        listed += (task / "children").read_text().split()
    return {int(pid) for pid in listed}


def figure(port, name):
    """A figure, over a connection of its own: the system picks who answers it."""
    client = Client(port)
    text = client("/metrics").content.decode()
    client.close()
    return int(next(line for line in text.splitlines() if line.startswith(name)).split()[-1])


def listeners(process):
    """How many processes of the node listen on its port."""
    inodes = {
        line.split()[9]
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if int(line.split()[1].split(":")[1], 16) == process.port and line.split()[3] == "0A"
    }
    return len(inodes)


def test_all_processes_answer_the_same_and_count_together(node, reader, store_path):
    eventually(lambda: listeners(node) == 3, within_s=20)
    before = figure(node.port, "teleprefetch_content_hits_total")
    for _ in range(30):
        client = Client(node.port)
        assert client("/readyz").status == 200
        assert client(FRAME, Accept="image/jphc", **reader).content == content(2)
        assert client(FRAME).status == 401
        client.close()
    eventually(lambda: figure(node.port, "teleprefetch_content_hits_total") == before + 30)
    told = list(entries(store_path / "audit"))
    served = [entry for entry in told if entry.event.kind == "served"]
    assert len(served) == 30
    assert {entry.lane for entry in told} == {"serve-0", "serve-1", "serve-2", "worker"}


def test_a_process_that_dies_is_started_again(node, reader):
    eventually(lambda: listeners(node) == 3, within_s=20)
    died = min(children_of(node))
    os.kill(died, signal.SIGKILL)
    eventually(lambda: died not in children_of(node), within_s=20)
    eventually(lambda: listeners(node) == 3 and len(children_of(node)) == 2, within_s=20)
    client = Client(node.port)
    assert client(FRAME, Accept="image/jphc", **reader).content == content(2)
    client.close()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_no_process_outlives_its_node(node, end):
    eventually(lambda: listeners(node) == 3, within_s=20)
    children = children_of(node)
    assert len(children) == 2
    os.kill(node.pid, end)
    node.wait(20)
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), within_s=20)


def test_settings_survive_the_way_to_another_process(environment):
    settings = from_environment(NodeSettings, environment)
    assert from_environment(NodeSettings, environment_of(settings)) == settings


def test_a_board_is_shared_by_those_who_have_its_descriptor():
    first = Board(2)
    second = Board(2, slot=1, descriptor=os.dup(first.descriptor))
    for board, count in ((first, 2), (second, 3)):
        board.answered([Note(200, 10, 5, "frames", "memory")] * count)
    assert first.total(Figure.BODY_BYTES) == second.total(Figure.BODY_BYTES) == 50
    assert 'teleprefetch_answers_total{status="2xx"} 5' in second.prometheus()
    second.close()
    first.close()
