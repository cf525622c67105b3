import gzip
import json
import socket
from functools import partial

import pytest

from teleprefetch.dicom import EXPLICIT_VR_LITTLE_ENDIAN, HTJ2K_LOSSLESS
from teleprefetch.domain.multipart import ContentType, decode
from teleprefetch.edge.dicomweb.routes import Routes
from teleprefetch.edge.http.server import EdgeServer
from teleprefetch.model import Frame
from tests.edge.fakes_for_node import ORIGIN, content, dicom_json, entry, metadata, pointer
from tests.edge.open_doorway import OpenDoorway
from tests.edge.served import ALL, FRAME, SERIES, Client, hold


@pytest.fixture
def is_ready():
    return [True]


@pytest.fixture
def serve(serve_store, is_ready):
    return partial(serve_store, is_ready=lambda: is_ready[0])


@pytest.fixture
def get(serve):
    client = Client(serve().port)
    yield client
    client.close()


def parts_of(answer):
    content_type = ContentType.parse(answer.headers["Content-Type"])
    return decode(content_type, answer.content, max_parts=99, max_part_bytes=1 << 26)


def test_a_frame_arrives_byte_for_byte_with_its_true_transfer_syntax(get, store):
    hold(store, pointer(), 3)
    answer = get(FRAME, Accept=ALL)
    assert answer.status == 200
    (part,) = parts_of(answer)
    assert part.content == content(2)
    stated = f"application/octet-stream; transfer-syntax={HTJ2K_LOSSLESS}"
    assert part.headers["content-type"] == stated
    assert f"transfer-syntax={HTJ2K_LOSSLESS};" in answer.headers["Content-Type"]
    assert int(answer.headers["Content-Length"]) == len(answer.content)
    assert answer.headers["ETag"].startswith('"1-')
    assert answer.headers["Cache-Control"].startswith("private, immutable, max-age=")


def test_a_big_frame_arrives_whole(get, store):
    big = bytes(range(256)) * 40_000
    hold(store, pointer(), 2, syntax=EXPLICIT_VR_LITTLE_ENDIAN, bytes_of=lambda _number: big)
    answer = get(FRAME, Accept="application/octet-stream")
    assert answer.content == big


def test_several_frames_of_an_instance_are_sent_in_the_order_asked_for(get, store):
    series = pointer()
    store.put_metadata(ORIGIN, metadata(series, 1))
    with store.writing(ORIGIN, series) as writer:
        for number in (1, 2, 3):
            named = entry(series, 1).model_copy(update={"frame_number": number})
            frame = Frame(content=content(number), transfer_syntax_uid=HTJ2K_LOSSLESS)
            writer.append(named, frame)
    answer = get(f"{SERIES}/instances/1.2.1.1.1/frames/3,1", Accept=ALL)
    assert [part.content for part in parts_of(answer)] == [content(3), content(1)]
    assert get(f"{SERIES}/instances/1.2.1.1.1/frames/3,4", Accept=ALL).status == 404


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("application/octet-stream; transfer-syntax=*", "application/octet-stream"),
        (f"application/octet-stream; transfer-syntax={HTJ2K_LOSSLESS}", "application/octet-stream"),
        ("image/jphc", "image/jphc"),
        ("image/jpeg, image/*;q=0.5", "image/jphc"),
    ],
)
def test_a_single_part_is_sent_where_it_is_asked_for(get, store, accept, content_type):
    hold(store, pointer(), 3)
    answer = get(FRAME, Accept=accept)
    assert answer.content == content(2)
    stated = f"{content_type}; transfer-syntax={HTJ2K_LOSSLESS}"
    assert answer.headers["Content-Type"] == stated


@pytest.mark.parametrize(
    "accept",
    [
        ALL,
        'multipart/related; type="application/octet-stream"; transfer-syntax=*',
        "*/*",
        "",
        "multipart/related; type=image/jp2, multipart/related; type=image/jphc",
        "text/html, */*;q=0.1",
    ],
)
def test_parts_are_sent_for_every_accept_that_takes_them(get, store, accept):
    hold(store, pointer(), 3)
    answer = get(FRAME, Accept=accept)
    assert [part.content for part in parts_of(answer)] == [content(2)]


@pytest.mark.parametrize(
    "accept",
    [
        "text/html",
        "image/jpeg",
        "application/octet-stream",
        "multipart/related; type=application/octet-stream",
        "multipart/related; type=application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1",
        "*/*;q=0",
    ],
)
def test_what_would_need_transcoding_is_not_acceptable(get, store, accept):
    hold(store, pointer(), 3)
    assert get(FRAME, Accept=accept).status == 406


def test_accept_may_come_in_the_query(get, store):
    hold(store, pointer(), 3)
    answer = get(f"{FRAME}?accept=image%2Fjphc", Accept="text/html")
    assert answer.content == content(2)


def test_head_answers_like_get_without_a_body(get, store):
    hold(store, pointer(), 3)
    for path in (FRAME, f"{SERIES}/metadata", "/dicom-web/studies", "/warm"):
        full, head = get(path), get(path, method="HEAD")
        assert (head.status, head.content) == (200, b"")
        assert head.headers["Content-Length"] == str(len(full.content))
        assert head.headers["Content-Type"] == full.headers["Content-Type"]


def test_a_known_etag_is_answered_without_a_body(get, store):
    hold(store, pointer(), 3)
    etag = get(FRAME).headers["ETag"]
    answer = get(FRAME, If_None_Match=etag)
    assert (answer.status, answer.content) == (304, b"")
    assert get(FRAME).status == 200


def test_metadata_arrive_as_the_origin_sent_them_packed_or_not(get, store):
    hold(store, pointer(), 3)
    plain = get(f"{SERIES}/metadata", Accept="application/dicom+json")
    assert plain.content == dicom_json(pointer(), 3)
    assert plain.headers["Content-Type"] == "application/dicom+json"
    packed = get(f"{SERIES}/metadata", Accept_Encoding="gzip, br")
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.content) == plain.content
    assert get(f"{SERIES}/metadata", Accept="application/dicom+xml").status == 406


def test_two_image_sets_of_one_series_are_answered_together(get, store):
    hold(store, pointer(), 2)
    hold(store, pointer(image_set="a" * 32), 1)
    answer = get(f"{SERIES}/metadata", Accept_Encoding="gzip")
    assert len(json.loads(gzip.decompress(answer.content))) == 3
    assert len(get.json(f"{SERIES}/metadata")) == 3
    (found,) = get.json("/dicom-web/studies/1.2.1/series")
    assert found["00201209"]["Value"] == [3]


def test_studies_are_found_by_what_viewers_ask_for(get, store):
    hold(store, pointer(1), 2)
    hold(store, pointer(1, 2), 1)
    hold(store, pointer(2), 1)
    hold(store, pointer(3), 1, patient_id="P2")
    ohif = (
        "limit=101&offset=0&fuzzymatching=true"
        "&includefield=00081030%2C00080060%2C00080090%2C00100030"
    )
    (study,) = get.json(f"/dicom-web/studies?{ohif}&StudyInstanceUID=1.2.1")
    assert study["0020000D"] == {"vr": "UI", "Value": ["1.2.1"]}
    assert study["00081030"]["Value"] == ["Thorax"]
    assert study["00080061"]["Value"] == ["CT"]
    assert study["00100010"]["Value"] == [{"Alphabetic": "Doe^Jane"}]
    assert (study["00201206"]["Value"], study["00201208"]["Value"]) == ([2], [3])
    assert study["00081190"]["Value"][0].endswith("/dicom-web/studies/1.2.1")

    def uids(query):
        return [one["0020000D"]["Value"][0] for one in get.json(f"/dicom-web/studies?{query}")]

    assert uids(f"00100020=P1&{ohif}") == ["1.2.2", "1.2.1"]
    assert uids("PatientID=P2") == ["1.2.3"]
    assert uids("0020000D=1.2.1,1.2.3") == ["1.2.3", "1.2.1"]
    assert uids("PatientName=*jane*&limit=1&offset=1") == ["1.2.2"]
    assert uids("StudyDate=20260101-20261231&ModalitiesInStudy=CT&PatientID=P2") == ["1.2.3"]
    assert uids("StudyDate=20260301-&PatientID=P2") == ["1.2.3"]


@pytest.mark.parametrize("query", ["PatientID=P9", "StudyInstanceUID=1.2.9", "offset=7"])
def test_a_search_without_a_match_has_no_content(get, store, query):
    hold(store, pointer(), 1)
    answer = get(f"/dicom-web/studies?{query}")
    assert (answer.status, answer.content) == (204, b"")


@pytest.mark.parametrize("query", ["limit=-1", "offset=x", "Evil=1", "Modality=CT", "limit=²"])
def test_a_query_that_cannot_be_understood_is_refused(get, store, query):
    hold(store, pointer(), 1)
    assert get(f"/dicom-web/studies?{query.replace('²', '%C2%B2')}").status == 400


def test_series_and_instances_are_listed_in_order(get, store):
    hold(store, pointer(1, 2), 1)
    hold(store, pointer(1, 1), 12)
    series = get.json("/dicom-web/studies/1.2.1/series?includefield=00080021")
    assert [one["0020000E"]["Value"][0] for one in series] == ["1.2.1.1", "1.2.1.2"]
    assert series[0]["00201209"]["Value"] == [12]
    assert series[0]["00080060"]["Value"] == ["CT"]
    instances = get.json(f"{SERIES}/instances")
    assert [one["00200013"]["Value"][0] for one in instances] == list(range(1, 13))
    assert instances[2]["00081190"]["Value"][0].endswith(f"{SERIES}/instances/1.2.1.1.3")
    assert len(get.json(f"{SERIES}/instances?SOPInstanceUID=1.2.1.1.3")) == 1


@pytest.mark.parametrize(
    "path",
    [
        "/dicom-web/studies/1.2.9/series",
        "/dicom-web/studies/1.2.1/series/1.2.9/metadata",
        f"{SERIES}/instances/1.2.1.1.9/frames/1",
        f"{SERIES}/instances/1.2.1.1.2/frames/2",
        "/warm/studies/1.2.9",
        "/dicom-web/studies/1.2.1",
        "/dicom-web/studies/1.2.9/metadata",
        f"{SERIES}/instances/1.2.1.1.9",
        f"{SERIES}/instances/1.2.1.1.9/rendered",
        f"{SERIES}/instances/1.2.1.1.2/bulkdata/00091010",
        "/elsewhere",
        "/dicom-web/studies/../../etc/passwd",
    ],
)
def test_what_is_not_held_is_not_found(get, store, path):
    hold(store, pointer(), 3)
    assert get(path).status == 404


@pytest.mark.parametrize(
    "uid",
    [
        "1.2.1%0A",
        "1.2.1%0D%0AX:1",
        "..",
        "%2e%2e",
        "01.2",
        "1..2",
        "1.2.",
        "9" * 65,
        "%00",
        "a",
        "",
    ],
)
@pytest.mark.parametrize(
    "path",
    [
        "/dicom-web/studies/{}/series",
        "/dicom-web/studies/1.2.1/series/{}/metadata",
        "/dicom-web/studies/1.2.1/series/1.2.1.1/instances/{}/frames/1",
        "/warm/studies/{}",
    ],
)
def test_what_is_no_uid_is_refused_and_not_repeated(get, store, uid, path):
    hold(store, pointer(), 3)
    answer = get(path.format(uid))
    assert answer.status == 400
    assert answer.content.startswith(b'{"error":"path.')


@pytest.mark.parametrize("frames", ["0", "-1", "1,", "a", "1,1", "01", "1%0A", "%EF%BC%91"])
def test_what_is_no_list_of_frames_is_refused(get, store, frames):
    hold(store, pointer(), 3)
    assert get(f"{SERIES}/instances/1.2.1.1.2/frames/{frames}").status == 400


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_is_allowed_that_writes(get, store, method):
    hold(store, pointer(), 3)
    answer = get(FRAME, method=method)
    assert answer.status == 405
    assert answer.headers["Allow"] == "GET, HEAD, OPTIONS"
    assert get(FRAME).status == 200


@pytest.mark.parametrize(
    "head",
    [
        "GET /healthz HTTP/1.1\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        "GET /healthz HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET /dicom-web/studies HTTP/1.1\r\nHost: a/b\r\n\r\n",
    ],
)
def test_an_ambiguous_request_is_refused(serve, store, head):
    hold(store, pointer(), 1)
    with socket.create_connection(("127.0.0.1", serve().port), timeout=10) as connection:
        connection.sendall(head.encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 400 ")


def test_a_damaged_frame_is_never_served_and_the_others_are(get, store):
    hold(store, pointer(), 3)
    assert get(FRAME).status == 200
    held = store.frames(ORIGIN, pointer())["1.2.1.1.2", 1]
    path = store._segments / store.rows()[0].segment
    with path.open("r+b") as file:
        file.seek(held.offset + 3)
        file.write(b"\0\0\0\0")
    assert get(FRAME).status == 404
    assert get(f"{SERIES}/instances/1.2.1.1.3/frames/1").status == 200
    assert get.json("/warm")["series"][0]["frames_held"] == 2


def test_a_purged_image_set_is_not_served_any_more(get, store):
    hold(store, pointer(), 3)
    assert get(FRAME).status == 200
    store.purge(ORIGIN, pointer().image_set_id)
    assert get(FRAME).status == 404
    assert get("/dicom-web/studies").status == 204


def test_warm_proves_what_is_held(get, store):
    hold(store, pointer(), 3)
    proof = {
        "origin_id": ORIGIN,
        "study_instance_uid": "1.2.1",
        "series_instance_uid": "1.2.1.1",
        "image_set_id": pointer().image_set_id,
        "version_id": 1,
        "frames_held": 3,
    }
    # each was read back when it was published
    assert get.json("/warm") == {"series": [proof | {"frames_verified": 3}]}
    assert get.json("/warm/studies/1.2.1") == {"series": [proof | {"frames_verified": 3}]}


def test_health_and_readiness(get, is_ready):
    assert get("/healthz").status == 200
    assert get("/readyz").status == 200
    is_ready[0] = False
    assert get("/healthz").status == 200
    assert get("/readyz").status == 503


def test_a_server_that_closes_does_not_wait_for_idle_clients(store):
    server = EdgeServer(
        ("127.0.0.1", 0),
        Routes(store, is_ready=lambda: True),
        at_thread_end=store.close_thread,
        doorway=OpenDoorway(),
    )
    server.start()
    client = Client(server.port)
    assert client("/healthz").status == 200
    server.close()
    client.close()
