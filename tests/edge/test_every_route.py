"""Every route by everybody: who gets the answer, who gets a refusal, and what is recorded.

One table; and a proof that it notices a route on which the check is left out.
"""

import json
from dataclasses import dataclass, replace

import pytest

from teleprefetch.dicom import HTJ2K_LOSSLESS
from teleprefetch.edge.dicomweb.routes import Routes
from teleprefetch.edge.http.server import EdgeServer
from teleprefetch.edge.pages.status_page import StatusPage
from teleprefetch.edge.pages.viewer import ViewerConfig, ViewerFiles
from teleprefetch.edge.watching.status import Served, StatusSource
from teleprefetch.model import Frame, SeriesMetadata
from tests.edge.doors import bearer, reading, token
from tests.edge.fakes_for_node import ORIGIN, START, content, entry, pointer
from tests.edge.open_doorway import OpenDoorway
from tests.edge.served import FRAME, SERIES, Client

STUDY = "/dicom-web/studies/1.2.1"
INSTANCE = f"{SERIES}/instances/1.2.1.1.2"
UNHELD = "1.2.777"
READS = {
    "frames": FRAME,
    "series-metadata": f"{SERIES}/metadata",
    "search-study-series": f"{STUDY}/series",
    "search-series-instances": f"{SERIES}/instances",
    "search-study-instances": f"{STUDY}/instances",
    "study-metadata": f"{STUDY}/metadata",
    "instance-metadata": f"{INSTANCE}/metadata",
    "instance": INSTANCE,
    "bulkdata": f"{INSTANCE}/bulkdata/7FE00010",
    "rendered-instance": f"{INSTANCE}/rendered",
    "rendered-frame": f"{FRAME}/rendered",
    "frame-thumbnail": f"{FRAME}/thumbnail",
    "instance-thumbnail": f"{INSTANCE}/thumbnail",
    "series-thumbnail": f"{SERIES}/thumbnail",
    "study-thumbnail": f"{STUDY}/thumbnail",
}
SEARCHES = {"search-studies": "/dicom-web/studies", "search-series": "/dicom-web/series"}
OPERATORS = {
    "warm": "/warm",
    "warm-study": "/warm/studies/1.2.1",
    "metrics": "/metrics",
    "status": "/status",
    "status-json": "/status.json",
}
ANYBODYS = {
    "health": "/healthz",
    "readiness": "/readyz",
    "viewer": "/",
    "viewer-config": "/app-config.js",
}
PATHS = READS | SEARCHES | OPERATORS | ANYBODYS
REASON = {"X-Break-Glass": "resuscitation, no time"}
# Else /metrics answers this machine without a token, and links name the server's port.
PROXY = {"X-Forwarded-For": "10.0.0.9", "Host": "node"}


@dataclass(frozen=True)
class Who:
    """Somebody: their headers, and what they get of each family of routes."""

    headers: dict[str, str]
    reads: object
    searches: object
    status: object


def hold_image(store):
    """One instance of the series, with all that its rendering takes."""
    values = {
        "00080016": ("UI", "1.2.840.10008.5.1.4.1.1.2"),
        "00080018": ("UI", "1.2.1.1.2"),
        "00080060": ("CS", "CT"),
        "0020000D": ("UI", "1.2.1"),
        "0020000E": ("UI", "1.2.1.1"),
        "00280002": ("US", 1),
        "00280004": ("CS", "MONOCHROME2"),
        "00280010": ("US", 24),
        "00280011": ("US", 24),
        "00280100": ("US", 16),
        "00280101": ("US", 16),
        "00280102": ("US", 15),
        "00280103": ("US", 0),
    }
    document = {tag: {"vr": vr, "Value": [value]} for tag, (vr, value) in values.items()}
    series, one = pointer(), entry(pointer(), 2)
    held = SeriesMetadata(series=series, dicom_json=json.dumps([document]).encode(), frames=(one,))
    store.put_metadata(ORIGIN, held)
    with store.writing(ORIGIN, series) as writer:
        writer.append(one, Frame(content=content(2), transfer_syntax_uid=HTJ2K_LOSSLESS))


def everybody():
    expired = token(iat={"now": -600}, exp={"now": -300})
    return {
        "no token": Who({}, 401, 401, 401),
        "no bearer": Who({"Authorization": "Basic cmVhZGVyOnB3"}, 401, 401, 401),
        "expired": Who(bearer(expired), 401, 401, 401),
        "other tenant's issuer": Who(bearer(token(iss="https://other.example")), 401, 401, 401),
        "for another audience": Who(bearer(token(aud="urn:other")), 401, 401, 401),
        "other tenant's site": Who(bearer(token(site="elsewhere")), 404, 204, 403),
        "no site": Who(bearer(token(site=None)), 404, 204, 403),
        "unassigned": Who(bearer(token("reader-2")), 404, 204, 403),
        "assigned": Who(bearer(token()), "answer", "answer", 403),
        "operator": Who(bearer(token("op-1", groups=["operators"])), 404, 204, "answer"),
        "break-glass": Who(bearer(token("reader-2")) | REASON, "answer", "answer", 403),
        "break-glass elsewhere": Who(
            bearer(token("reader-3", site="elsewhere")) | REASON, 404, 204, 403
        ),
        "break-glass by an operator": Who(
            bearer(token("op-1", groups=["operators"])) | REASON, 404, 204, "answer"
        ),
    }


@pytest.fixture
def open_server(store, board, tmp_path):
    """Starts servers with every site; `change` may change the routes before."""
    hold_image(store)
    folder = tmp_path / "viewer"
    folder.mkdir()
    (folder / "index.html").write_text("<html></html>")
    source = StatusSource(
        node="n1",
        store=store,
        limit_bytes=1 << 28,
        served=lambda: Served(hits=0, misses=0),
        recent=tuple,
        takes_orders=lambda: True,
        clock=lambda: START,
    )
    servers = []

    def start(doorway, change=lambda _routes: None):
        sites = [StatusPage(source), ViewerFiles(folder, config=ViewerConfig())]
        routes = Routes(store, is_ready=lambda: True, sites=sites)
        change(routes)
        server = EdgeServer(
            ("127.0.0.1", 0), routes, at_thread_end=store.close_thread, doorway=doorway
        )
        server.start()
        servers.append(server)
        return server.port

    yield start
    for server in servers:
        server.close()


def shown(answer):
    """All of an answer but the time it was given."""
    headers = sorted((name, text) for name, text in answer.getheaders() if name != "Date")
    return answer.status, headers, answer.content


def expected(name, who):
    if name in ANYBODYS:
        return "answer"
    if name in READS:
        return who.reads
    if name in SEARCHES:
        return who.searches
    return 404 if name == "warm-study" and who.status == 403 else who.status


def kinds_of(name, who_name, wanted):
    """The kinds of the records that one request leaves."""
    if name in ANYBODYS:
        return []
    is_emergency = who_name == "break-glass" and name in READS | SEARCHES
    if wanted in {401, 403, 404}:
        return ["refused"]
    return ["break-glass"] if is_emergency else ["served"]


def faults(name, port, door, open_port):
    """What is not as the table says on one route."""
    found = []
    ask, ask_open = Client(port), Client(open_port)
    whole = shown(ask_open(PATHS[name], **PROXY))
    assert whole[0] == 200, whole
    for who_name, who in everybody().items():
        wanted = expected(name, who)
        before = len(door.records())
        answer = ask(PATHS[name], **who.headers, **PROXY)
        kinds = [record.kind for record in door.records()[before:]]
        is_right = shown(answer)[2] == whole[2] if wanted == "answer" else answer.status == wanted
        if name in {"readiness", "metrics", "status", "status-json"} and wanted == "answer":
            is_right = answer.status == 200
        if not is_right or kinds != kinds_of(name, who_name, wanted):
            found.append(f"{name} by {who_name}: {answer.status}, {kinds}")
    ask.close()
    ask_open.close()
    return found


@pytest.mark.parametrize("name", PATHS)
def test_everybody_gets_what_is_theirs_on_every_route(open_server, door, name):
    assert faults(name, open_server(door.doorway), door, open_server(OpenDoorway())) == []


def test_the_table_has_every_route(store):
    routes = Routes(store, is_ready=lambda: True)
    assert {route.name for route in routes.table} <= PATHS.keys()


@pytest.mark.parametrize("name", [name for name in PATHS if name not in ANYBODYS])
def test_a_route_on_which_the_check_is_left_out_is_noticed(open_server, door, name, monkeypatch):
    def leave_out(routes):
        routes.table[:] = [
            replace(route, action=None) if route.name == name else route for route in routes.table
        ]

    if name in {"status", "status-json"}:
        monkeypatch.setattr(StatusPage, "action_at", lambda _self, _path: None)
    port = open_server(door.doorway, leave_out)
    assert faults(name, port, door, open_server(OpenDoorway()))


@pytest.mark.parametrize("name", READS)
def test_a_refusal_is_the_very_answer_of_a_study_that_is_not_held(open_server, door, name):
    door.readings.put(reading(UNHELD))
    ask = Client(open_server(door.doorway))
    missed = PATHS[name].replace("1.2.1", UNHELD)
    miss = shown(ask(missed, **bearer(token())))
    assert miss[0] == 404
    others = bearer(token("reader-2"))
    assert shown(ask(PATHS[name], **others)) == miss
    assert shown(ask(missed, **others)) == miss
    ask.close()


@pytest.mark.parametrize("name", [*READS, "warm-study"])
def test_a_refusal_is_made_without_a_look_at_the_store(door, name, board):
    server = EdgeServer(
        ("127.0.0.1", 0),
        Routes(Untouched(), is_ready=lambda: True, misses=Untouched()),
        at_thread_end=lambda: None,
        doorway=door.doorway,
    )
    server.start()
    ask = Client(server.port)
    refused = bearer(token("reader-2"))
    for headers in ({}, refused, bearer(token(site="elsewhere"))):
        for _ in range(2):
            assert ask(PATHS[name], **headers).status in {401, 404}
    ask.close()
    server.close()
    reasons = {record.reason for record in door.records()}
    assert reasons <= {"no token", "no policy permits it", ""}


class Untouched:
    """A store and an archive that nobody may look into; what the server does by itself aside."""

    def __getattr__(self, name):
        raise AssertionError(f"{name} was asked for")
