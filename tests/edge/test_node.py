import http.client
import json

import pytest

from teleprefetch.edge.node import Node
from teleprefetch.errors import NodeUnavailableError
from teleprefetch.settings import NodeSettings, from_environment
from tests.edge.fakes_for_node import (
    ORIGIN,
    FakeOrders,
    FakeProgress,
    FakeTasks,
    content,
    eventually,
    order,
    plan,
    pointer,
)


@pytest.fixture
def environment(tmp_path):
    return {
        "NODE": "n1",
        "QUEUE_URL": "http://127.0.0.1:1/queue",
        "ORIGINS": json.dumps({ORIGIN: {"kind": "dicomweb", "url": "http://127.0.0.1:1"}}),
        "TABLE_NAME": "table",
        "STORE_PATH": str(tmp_path / "store"),
        "STORE_BYTES": str(1 << 28),
        "PORT": "0",
        "FETCH_CONCURRENCY": "4",
        "HEARTBEAT_S": "0.05",
    }


@pytest.fixture
def open_node(environment, origin, documents, clock):
    nodes = []

    def start(orders, tasks, progress):
        node = Node(
            from_environment(NodeSettings, environment),
            origins={ORIGIN: origin},
            orders=orders,
            tasks=tasks,
            progress=progress,
            documents=documents,
            clock=clock,
        )
        node.start()
        nodes.append(node)
        return node

    yield start
    for node in nodes:
        node.stop()


def get(node, path):
    connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=10)
    connection.request("GET", path, headers={"Accept": "image/jphc"})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


def test_an_order_on_the_queue_becomes_a_frame_on_the_wire(open_node, origin, documents):
    orders, tasks = FakeOrders(), FakeTasks()
    node = open_node(orders, tasks, FakeProgress())
    assert get(node, "/readyz")[0] == 200
    series = origin.hold(pointer(), 3)
    receipt = orders.put(order(documents, plan(series)))
    eventually(lambda: receipt in orders.deleted)
    assert tasks.succeeded["t1"]["state"] == "warm"
    path = "/dicom-web/studies/1.2.1/series/1.2.1.1/instances/1.2.1.1.2/frames/1"
    assert get(node, path) == (200, content(2))
    status, proof = get(node, "/warm")
    assert status == 200
    assert [one["frames_verified"] for one in json.loads(proof)["series"]] == [3]


def test_a_node_that_cannot_open_its_store_does_not_start(open_node, environment, tmp_path):
    (tmp_path / "store").write_text("a file, not a directory")
    with pytest.raises(NodeUnavailableError):
        open_node(FakeOrders(), FakeTasks(), FakeProgress())
