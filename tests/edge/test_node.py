import http.client
import json
from datetime import UTC, datetime, timedelta

import pytest

from teleprefetch.edge.audit.reading import entries
from teleprefetch.edge.node import Node
from teleprefetch.errors import NodeUnavailableError
from teleprefetch.model import Assigned, AssignedTo, PurgeOrder
from teleprefetch.settings import NodeSettings, from_environment
from tests.edge.doors import bearer
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
from tests.loopback_issuer import SUBJECT, Issuer


@pytest.fixture
def issuer():
    issuer = Issuer()
    yield issuer
    issuer.close()


@pytest.fixture
def environment(tmp_path, issuer):
    return issuer.settings | {
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


def get(node, path, token=""):
    connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=10)
    connection.request("GET", path, headers={"Accept": "image/jphc"} | bearer(token))
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


def assigned(issuer):
    return Assigned(
        assignment_id="A-1",
        reading_location="home",
        assigned_to=AssignedTo(issuer=issuer.issuer, subject=SUBJECT),
        patient="c" * 40,
        ends_at=datetime.now(UTC) + timedelta(days=1),
    )


def test_an_order_on_the_queue_becomes_a_frame_on_the_wire(
    open_node, origin, documents, issuer, tmp_path
):
    orders, tasks = FakeOrders(), FakeTasks()
    node = open_node(orders, tasks, FakeProgress())
    assert get(node, "/readyz")[0] == 200
    series = origin.hold(pointer(), 3)
    path = "/dicom-web/studies/1.2.1/series/1.2.1.1/instances/1.2.1.1.2/frames/1"
    reader, operator = issuer.token("readers"), issuer.token("operators")
    assert get(node, path)[0] == 401
    assert get(node, path, reader)[0] == 404
    warm_order = order(documents, plan(series))
    receipt = orders.put(warm_order.model_copy(update={"reading": assigned(issuer)}))
    eventually(lambda: receipt in orders.deleted)
    assert tasks.succeeded["t1"]["state"] == "warm"
    eventually(lambda: get(node, path, reader) == (200, content(2)))
    assert get(node, path, operator)[0] == 404
    assert get(node, "/warm", reader)[0] == 403
    status, proof = get(node, "/warm", operator)
    assert status == 200
    assert [one["frames_verified"] for one in json.loads(proof)["series"]] == [3]
    orders.put(PurgeOrder(node="n1", origin_id=ORIGIN, image_set_id=series.image_set_id))
    eventually(lambda: get(node, path, reader)[0] == 404)
    node.stop()
    told = [entry.event for entry in entries(tmp_path / "store" / "audit")]
    (warmed,) = [event for event in told if event.kind == "warmed"]
    (purged,) = [event for event in told if event.kind == "purged"]
    assert (warmed.order, warmed.assignment, warmed.study) == ("p1", "A-1", "1.2.1")
    assert (warmed.detail["frames"], warmed.detail["frames_planned"]) == (3, 3)
    assert (purged.study, purged.reason) == ("1.2.1", "deleted at the archive")
    assert purged.detail["frames"] == 3
    (served,) = [event for event in told if event.kind == "served" and event.status == 200][:1]
    assert (served.assignment, served.order, served.version) == ("A-1", "p1", "1")


def test_a_node_that_cannot_open_its_store_does_not_start(open_node, environment, tmp_path):
    (tmp_path / "store").write_text("a file, not a directory")
    with pytest.raises(NodeUnavailableError):
        open_node(FakeOrders(), FakeTasks(), FakeProgress())


def test_a_node_writes_its_measures_for_cloudwatch_where_it_is_told_to(
    open_node, environment, origin, documents, capfd
):
    environment["METRICS_NAMESPACE"] = "Teleprefetch"
    orders = FakeOrders()
    node = open_node(orders, FakeTasks(), FakeProgress())
    receipt = orders.put(order(documents, plan(origin.hold(pointer(), 3))))
    eventually(lambda: receipt in orders.deleted)
    node.stop()
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith('{"_aws"')]
    told = json.loads(lines[-1])
    [directive] = told["_aws"]["CloudWatchMetrics"]
    assert (directive["Namespace"], told["node"]) == ("Teleprefetch", "n1")
    assert (told["AuditGap"], told["OrdersTaken"], told["QuotaShare"]) == (0, 0, 0)
    assert 0 < told["StoreFull"] < 100
    assert len(directive["Metrics"]) == len(told) - 2


def test_a_node_writes_no_measures_unless_it_is_told_to(open_node, capfd):
    open_node(FakeOrders(), FakeTasks(), FakeProgress()).stop()
    assert '"_aws"' not in capfd.readouterr().err
