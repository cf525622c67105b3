"""Scenario 33: whatever is said of other addresses, a node connects to where it is set to alone."""

import json
import socket
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import replace

import pycurl
import pytest

from teleprefetch.adapters.dicomweb import DicomwebOrigin
from teleprefetch.adapters.dicomweb_service import DicomwebService
from teleprefetch.adapters.http_reader import HttpReader
from teleprefetch.adapters.keys import KeyRing
from teleprefetch.adapters.retrying import NO_RETRIES
from teleprefetch.adapters.transfers import Transfers
from teleprefetch.dicom import HTJ2K_LOSSLESS
from teleprefetch.domain.tokens.issuers import KeysPlace
from teleprefetch.edge.archives.fetching import FetchPool
from teleprefetch.edge.archives.reading import ReadThrough
from teleprefetch.edge.archives.retrieving import Retriever
from teleprefetch.edge.warming.warmer import Warmer
from tests.edge.doors import bearer, reading
from tests.edge.fakes_for_node import ORIGIN, content, dicom_json, order, plan, pointer
from tests.edge.served import Client
from tests.faulty_server import http, run_answering_server, run_faulty_server
from tests.token_making import RULES, key_set, make, rsa_jwk

SERIES = pointer(image_set="")
PATH = f"/dicom-web/studies/{SERIES.study_instance_uid}/series/{SERIES.series_instance_uid}"
_heard: list[tuple[str, int]] = []
_sockets: list[socket.socket] = []
_RealCurl = pycurl.Curl


def _hear(event, arguments):
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        _heard.append(arguments[1][:2])


sys.addaudithook(_hear)  # for as long as the process lives


def _curl_that_tells():
    """A libcurl handle; it connects without Python, which hears of no event then."""

    def opened(_purpose, address):
        family, kind, protocol, place = address
        _heard.append(place[:2])
        _sockets.append(socket.socket(family, kind, protocol))
        return _sockets[-1]  # of which libcurl takes a duplicate

    curl = _RealCurl()
    curl.setopt(pycurl.OPENSOCKETFUNCTION, opened)
    return curl


@pytest.fixture
def connected(monkeypatch):
    """Every address that this process has connected to since."""
    monkeypatch.setattr(pycurl, "Curl", _curl_that_tells)
    _heard.clear()
    yield _heard
    while _sockets:
        _sockets.pop().close()


def place_of(url):
    host, _, port = url.removeprefix("http://").partition(":")
    return host, int(port)


def answers_full_of(elsewhere):
    """An archive of two frames; it points elsewhere wherever an answer can."""
    metadata = json.loads(dicom_json(SERIES, 2))
    for instance in metadata:
        instance["00280011"] = {"vr": "US", "Value": [24]}
        instance["00081190"] = {"vr": "UR", "Value": [f"{elsewhere}/retrieve"]}
        instance["7FE00010"] = {"vr": "OW", "BulkDataURI": f"{elsewhere}/bulk"}
        instance["00091001"] = {"vr": "OB", "BulkDataURI": f"{elsewhere}/private"}
    pointing = {
        "Location": f"{elsewhere}/there",
        "Content_Location": f"{elsewhere}/there",
        "Link": f"<{elsewhere}/there>; rel=preload",
        "Refresh": f"0; url={elsewhere}/there",
        "Alt_Svc": f'h2="{elsewhere.removeprefix("http://")}"',
    }
    head = f"--b\r\nContent-Type: image/jphc; transfer-syntax={HTJ2K_LOSSLESS}\r\n"
    head += f"Content-Location: {elsewhere}/part\r\n\r\n"
    related = 'multipart/related; type="image/jphc"; boundary=b'

    def answer(request):
        path = request.split(b" ", 2)[1].decode()
        if path.endswith("/metadata"):
            body = json.dumps(metadata).encode()
            return http("200 OK", body, Content_Type="application/dicom+json", **pointing)
        if "/instances/" in path and ".1/frames/" in path:
            body = head.encode() + content(1) + b"\r\n--b--\r\n"
            return http("200 OK", body, Content_Type=related, **pointing)
        return http("307 Temporary Redirect", **pointing)

    return answer


@pytest.fixture
def world(store, documents, clock, serve_store, open_door):
    """Whoever is not to be asked, the archive, the issuer, and a node between them."""
    with ExitStack() as opened:
        elsewhere = opened.enter_context(run_faulty_server(http("200 OK", b"secret")))
        archive = opened.enter_context(run_answering_server(answers_full_of(elsewhere.url)))
        issuer = opened.enter_context(run_faulty_server(http("200 OK", key_set(rsa_jwk("rsa-1")))))
        reader, frames = HttpReader(connections=4), Transfers(connections=4)
        origin = DicomwebOrigin(
            DicomwebService(archive.url, reader, frames=frames), retries=NO_RETRIES
        )
        opened.callback(origin.close)
        pool = FetchPool(2, at_thread_end=store.close_thread)
        opened.callback(pool.close)
        retriever = Retriever(store, verify_pixels=True)
        rules = replace(RULES, keys=KeysPlace(jwks_uri=f"{issuer.url}/keys"))
        keys = KeyRing([rules])
        opened.callback(keys.close)
        door = open_door(keys=keys)
        misses = ReadThrough(store, pool=pool, retriever=retriever, origins={ORIGIN: origin})
        server = serve_store(misses=misses, doorway=door.doorway)
        warmer = Warmer(
            node="n1",
            store=store,
            pool=pool,
            retriever=retriever,
            origins={ORIGIN: origin},
            documents=documents,
            clock=clock,
        )
        door.readings.put(reading(SERIES.study_instance_uid))
        yield warmer, server, {"elsewhere": elsewhere, "archive": archive, "issuer": issuer}


def a_token(**header):
    return make({"header": header, "claims": {"groups": ["readers"]}}, now_s=int(time.time()))


def test_a_study_is_warmed_and_served_without_a_connection_to_anybody_else(
    world, connected, documents
):
    warmer, server, sites = world
    elsewhere, archive = sites["elsewhere"], sites["archive"]
    one = order(documents, plan(SERIES))
    report = warmer.run(one, tell=lambda _report: None, stop=threading.Event()).report
    assert report.frames_verified == 1, "the other frame was a redirect, which is not followed"
    assert set(connected) == {place_of(archive.url)}

    connected.clear()
    client = Client(server.port)
    good = a_token()
    served = client(f"{PATH}/metadata", **bearer(good))
    assert served.status == 200, served.content
    frame = client(f"{PATH}/instances/{SERIES.series_instance_uid}.1/frames/1", **bearer(good))
    assert frame.status == 200
    own = {("127.0.0.1", server.port), place_of(sites["issuer"].url)}
    assert set(connected) <= own, "what is held is served without asking the archive"
    pointing = dict.fromkeys(("jku", "x5u"), f"{elsewhere.url}/keys")
    for key_id in ("rsa-1", "unknown"):
        client(f"{PATH}/metadata", **bearer(a_token(kid=key_id, **pointing)))
    redirected = client(f"{PATH}/instances/{SERIES.series_instance_uid}.2/frames/1", **bearer(good))
    assert redirected.status in {502, 503, 404}
    client.close()
    assert set(connected) <= own | {place_of(archive.url)}
    assert elsewhere.requests == []
