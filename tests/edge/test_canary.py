"""A patient's name, their number and a reader's token leave no trace of themselves (scenario 34).

A whole node is warmed and read by everybody who might, well and badly, and then all that it left
is looked through: its logs, metrics, audit, state and file names.
"""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from teleprefetch.edge.node import Node
from teleprefetch.model import Assigned, AssignedTo, PurgeOrder
from teleprefetch.settings import NodeSettings, from_environment
from tests.edge.doors import bearer
from tests.edge.fakes_for_node import (
    ORIGIN,
    FakeClock,
    FakeDocuments,
    FakeOrders,
    FakeOrigin,
    FakeProgress,
    FakeTasks,
    eventually,
    order,
    plan,
    pointer,
)
from tests.edge.served import FRAME, SERIES, Client
from tests.edge.test_every_route import PATHS
from tests.loopback_issuer import SUBJECT, Issuer

NAME, MRN = "Canary^Kanarienvogel", "MRN-0815-4711"


def environment(folder, issuer):
    return issuer.settings | {
        "NODE": "n1",
        "QUEUE_URL": "http://127.0.0.1:1/queue",
        "ORIGINS": json.dumps({ORIGIN: {"kind": "dicomweb", "url": "http://127.0.0.1:1"}}),
        "TABLE_NAME": "table",
        "STORE_PATH": f"{folder}/store",
        "STORE_BYTES": str(1 << 28),
        "PORT": "0",
        "FETCH_CONCURRENCY": "4",
        "HEARTBEAT_S": "0.05",
        "AUDIT_PATH": f"{folder}/audit",
        "AUDIT_CHECKPOINTS": f"{folder}/checkpoints",
    }


def warm(node_orders, documents, origin, issuer):
    series = origin.hold(pointer(), 3, patient_id=MRN)
    instances = json.loads(origin.series[series].dicom_json)
    named = {"00100010": {"vr": "PN", "Value": [{"Alphabetic": NAME}]}}
    document = json.dumps([one | named for one in instances]).encode()
    origin.series[series] = origin.series[series].model_copy(update={"dicom_json": document})
    reading = Assigned(
        assignment_id="A-1",
        reading_location="home",
        assigned_to=AssignedTo(issuer=issuer.issuer, subject=SUBJECT),
        patient="c" * 40,
        ends_at=datetime.now(UTC) + timedelta(days=1),
    )
    sent = order(documents, plan(series)).model_copy(update={"reading": reading})
    receipt = node_orders.put(sent)
    eventually(lambda: receipt in node_orders.deleted)


def read_it_all(port, issuer):
    """Every path by every kind of reader; the tokens that were used."""
    tokens = [
        issuer.token("readers"),
        issuer.token("readers", sub="stranger"),
        issuer.token("operators"),
        issuer.token("readers", exp={"now": -5}),
        issuer.token("readers")[:-9] + "AAAAAAAAA",
    ]
    client = Client(port)
    for token in tokens:
        for path in (*PATHS.values(), f"/dicom-web/studies?PatientID={MRN}&PatientName={NAME}"):
            client(path, **bearer(token))
        client(f"{FRAME}?access_token={token}", **bearer(token))
        client(f"/dicom-web/studies/{MRN}/metadata", **bearer(token))
        client(f"{SERIES}/{NAME}", **bearer(token))
        client(FRAME, **bearer(token), **{"X-Request-Id": f"{MRN} {NAME}"})
        client(FRAME, **bearer(token), Accept=f"image/{MRN}", Range=f"bytes={MRN}")
    client.close()
    return tokens


def run_node(folder):
    """What the process of `node_process` does: it prints the tokens that it used, and ends."""
    issuer = Issuer()
    origin, documents, orders = FakeOrigin(), FakeDocuments(), FakeOrders()
    node = Node(
        from_environment(NodeSettings, environment(folder, issuer)),
        origins={ORIGIN: origin},
        orders=orders,
        tasks=FakeTasks(),
        progress=FakeProgress(),
        documents=documents,
        clock=FakeClock(),
    )
    node.start()
    warm(orders, documents, origin, issuer)
    tokens = read_it_all(node.port, issuer)
    client = Client(node.port)
    metrics = client("/metrics").content
    client.close()
    orders.put(PurgeOrder(node="n1", origin_id=ORIGIN, image_set_id="0" * 31 + "9"))
    eventually(lambda: len(orders.deleted) == 2)
    node.stop()
    issuer.close()
    Path(folder, "metrics").write_bytes(metrics)
    sys.stdout.write(json.dumps(tokens))


@pytest.fixture
def left(tmp_path):
    """What a node left: its folder, its log, and the tokens that were used."""
    program = (
        "import sys; from teleprefetch.edge.watching.logs import log_to_stderr; log_to_stderr();"
        "from tests.edge.test_canary import run_node; run_node(sys.argv[1])"
    )
    root = Path(__file__).parents[2]
    with (tmp_path / "log").open("wb") as log:
        done = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)],
            cwd=root, env=os.environ | {"PYTHONPATH": str(root)},
            stdout=subprocess.PIPE, stderr=log, timeout=120, check=True,
        )  # fmt: skip
    return tmp_path, json.loads(done.stdout)


def test_no_name_no_number_and_no_token_is_left_anywhere(left):
    folder, tokens = left
    parts = [part for token in tokens for part in token.split(".")[1:]]
    canaries = [NAME, MRN, "Kanarienvogel", "0815-4711", *tokens, *parts]
    seen = 0
    for path in folder.rglob("*"):
        relative = path.relative_to(folder).as_posix()
        assert not any(one in relative for one in canaries), relative
        # what searches are answered from is clinical content, in a folder of its own
        if path.is_file() and not relative.startswith("store/index/"):
            content = path.read_bytes()
            found = [one[:20] for one in canaries if one.encode() in content]
            assert not found, (relative, found)
            seen += 1
    assert seen > 8
    audit = b"".join(path.read_bytes() for path in (folder / "audit").rglob("*.jsonl"))
    for word in (b'"refused"', b'"served"', b'"warmed"', b'"purged"', b"expired"):
        assert word in audit, word
    assert (folder / "log").stat().st_size > 0
    assert b"teleprefetch_answers_total" in (folder / "metrics").read_bytes()
