"""What is answered of studies beyond frames and metadata: instances, images, ranges, links."""

import gzip
import io
import json
import xml.etree.ElementTree as ET

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.encaps import generate_frames
from pydicom.pixels.encoders import RLELosslessEncoder

from teleprefetch.dicom import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    HTJ2K_LOSSLESS,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
)
from teleprefetch.domain.multipart import ContentType, decode
from teleprefetch.edge.dicomweb.messages import Request
from teleprefetch.edge.dicomweb.routes import Routes
from teleprefetch.model import Frame, FrameEntry, SeriesMetadata
from tests.edge.fakes_for_node import ORIGIN, content, pointer
from tests.edge.served import ALL, FRAME, SERIES, Client, hold

SOP = "1.2.1.1.1"
INSTANCE = f"{SERIES}/instances/{SOP}"
RLE = "1.2.840.10008.1.2.5"
JPEG_LS = "1.2.840.10008.1.2.4.80"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
SIDE = 48


@pytest.fixture
def get(serve_store):
    client = Client(serve_store().port)
    yield client
    client.close()


def image(seed=1, *, samples=1, bits=12):
    """A disc that is brighter than its ground, in noise."""
    chance = np.random.default_rng(seed)
    rows, columns = np.indices((SIDE, SIDE))
    disc = ((rows - SIDE / 2) ** 2 + (columns - SIDE / 2) ** 2 < (SIDE / 4) ** 2) * (
        1 << (bits - 1)
    )
    pixels = disc + chance.integers(0, 1 << (bits - 4), (SIDE, SIDE))
    pixels = pixels.astype("uint16" if bits > 8 else "uint8")
    return pixels if samples == 1 else np.stack([pixels, pixels // 2, pixels // 4], axis=-1)


def instance(**elements):
    """An instance's DICOM JSON; elements by tag, as VR and values."""
    values = {
        "00080016": ("UI", ["1.2.840.10008.5.1.4.1.1.2"]),
        "00080018": ("UI", [SOP]),
        "00080060": ("CS", ["CT"]),
        "00100010": ("PN", [{"Alphabetic": "Dö^Jane"}]),
        "00100020": ("LO", ["P1"]),
        "0020000D": ("UI", ["1.2.1"]),
        "0020000E": ("UI", ["1.2.1.1"]),
        "00200013": ("IS", [1]),
        "00280002": ("US", [1]),
        "00280004": ("CS", ["MONOCHROME2"]),
        "00280010": ("US", [SIDE]),
        "00280011": ("US", [SIDE]),
        "00280100": ("US", [16]),
        "00280101": ("US", [12]),
        "00280102": ("US", [11]),
        "00280103": ("US", [0]),
    } | {tag.removeprefix("t"): value for tag, value in elements.items()}
    return {tag: {"vr": vr, "Value": value} for tag, (vr, value) in values.items()}


def hold_one(store, frames, syntax, document):
    """One instance with these frames."""
    series = pointer()
    entries = tuple(
        FrameEntry(sop_instance_uid=SOP, frame_number=number)
        for number in range(1, len(frames) + 1)
    )
    dicom_json = json.dumps([document]).encode()
    store.put_metadata(ORIGIN, SeriesMetadata(series=series, dicom_json=dicom_json, frames=entries))
    with store.writing(ORIGIN, series) as writer:
        for entry, one in zip(entries, frames, strict=True):
            writer.append(entry, Frame(content=one, transfer_syntax_uid=syntax))


def parts_of(answer):
    content_type = ContentType.parse(answer.headers["Content-Type"])
    return decode(content_type, answer.content, max_parts=99, max_part_bytes=1 << 26)


CODECS = {
    EXPLICIT_VR_LITTLE_ENDIAN: lambda pixels: pixels.astype("<u2").tobytes(),
    HTJ2K_LOSSLESS: imagecodecs.htj2k_encode,
    JPEG_2000_LOSSLESS: lambda pixels: imagecodecs.jpeg2k_encode(pixels, reversible=True, level=0),
    JPEG_LS: imagecodecs.jpegls_encode,
    JPEG_LOSSLESS: imagecodecs.ljpeg_encode,
    RLE: lambda pixels: RLELosslessEncoder.encode(
        pixels.astype("<u2").tobytes(),
        rows=SIDE,
        columns=SIDE,
        samples_per_pixel=1,
        photometric_interpretation="MONOCHROME2",
        bits_allocated=16,
        bits_stored=12,
        pixel_representation=0,
        number_of_frames=1,
    ),
}


@pytest.mark.parametrize("syntax", CODECS)
def test_an_instance_is_a_file_with_its_attributes_and_its_frames(get, store, syntax):
    encoded = CODECS[syntax](image())
    hold_one(store, [encoded], syntax, instance(t00281050=("DS", [40.5])))
    answer = get(INSTANCE, Accept="application/dicom; transfer-syntax=*")
    assert answer.headers["Content-Type"] == f"application/dicom; transfer-syntax={syntax}"
    file = pydicom.dcmread(io.BytesIO(answer.content))
    assert file.file_meta.TransferSyntaxUID == syntax
    assert str(file.PatientName) == "Dö^Jane"
    assert (file.SOPInstanceUID, file.WindowCenter, file.Rows) == (SOP, 40.5, SIDE)
    if syntax == EXPLICIT_VR_LITTLE_ENDIAN:
        assert file.PixelData == encoded
    else:
        (one,) = generate_frames(file.PixelData, number_of_frames=1)
        assert one.removesuffix(b"\0") == encoded.removesuffix(b"\0")


def test_an_instance_of_many_frames_is_a_part_by_default(get, store):
    frames = [imagecodecs.htj2k_encode(image(seed)) for seed in range(5)]
    hold_one(store, frames, HTJ2K_LOSSLESS, instance(t00280008=("IS", [5])))
    (part,) = parts_of(get(INSTANCE))
    assert part.headers["content-type"] == f"application/dicom; transfer-syntax={HTJ2K_LOSSLESS}"
    file = pydicom.dcmread(io.BytesIO(part.content))
    kept = [one.removesuffix(b"\0") for one in generate_frames(file.PixelData, number_of_frames=5)]
    assert kept == [one.removesuffix(b"\0") for one in frames]


@pytest.mark.parametrize(
    ("document", "frames", "reason"),
    [
        ({**instance(), "00091010": {"vr": "OB", "BulkDataURI": "x"}}, 1, "bulk data"),
        (
            instance(t00280008=("IS", [2]), t00280100=("US", [1]), t00280101=("US", [1])),
            2,
            "single bits",
        ),
    ],
)
def test_an_instance_that_cannot_be_put_together_without_loss_is_refused_by_name(
    get, store, document, frames, reason
):
    hold_one(store, [b"\0" * 4608] * frames, EXPLICIT_VR_LITTLE_ENDIAN, document)
    answer = get(INSTANCE)
    assert answer.status == 406
    assert reason in json.loads(answer.content)["error"]


def test_an_instance_lacking_a_frame_is_not_answered(get, store):
    frames = [imagecodecs.htj2k_encode(image())]
    hold_one(store, frames, HTJ2K_LOSSLESS, instance(t00280008=("IS", [2])))
    assert get(INSTANCE).status == 404


def test_an_instance_in_another_transfer_syntax_is_not_acceptable(get, store):
    hold_one(store, [imagecodecs.htj2k_encode(image())], HTJ2K_LOSSLESS, instance())
    explicit = f"application/dicom; transfer-syntax={EXPLICIT_VR_LITTLE_ENDIAN}"
    assert get(INSTANCE, Accept=explicit).status == 406


def test_pixels_as_bulk_data_are_one_run_of_bytes_or_parts(get, store):
    frames = [CODECS[EXPLICIT_VR_LITTLE_ENDIAN](image(seed)) for seed in range(3)]
    hold_one(store, frames, EXPLICIT_VR_LITTLE_ENDIAN, instance(t00280008=("IS", [3])))
    single = get(f"{INSTANCE}/bulkdata/7FE00010", Accept="application/octet-stream")
    assert single.content == b"".join(frames)
    parts = parts_of(get(f"{INSTANCE}/bulkdata/7FE00010", Accept=ALL))
    assert [part.content for part in parts] == frames
    assert get(f"{INSTANCE}/bulkdata/00091010").status == 404


@pytest.mark.parametrize("syntax", CODECS)
@pytest.mark.parametrize("path", ["rendered", "frames/1/rendered"])
def test_an_image_is_rendered_whatever_it_is_stored_as(get, store, syntax, path):
    hold_one(store, [CODECS[syntax](image())], syntax, instance())
    answer = get(f"{INSTANCE}/{path}?accept=image%2Fpng", Accept="text/plain")
    assert answer.headers["Content-Type"] == "image/png"
    rendered = imagecodecs.png_decode(answer.content)
    assert rendered.shape == (SIDE, SIDE)
    low, high = float(image().min()), float(image().max())
    expected = np.clip(np.rint((image() - low) / (high - low) * 255), 0, 255)
    assert np.abs(rendered.astype(float) - expected).max() <= 1


def test_the_viewers_way_to_ask_for_a_thumbnail_is_understood(get, store):
    hold_one(store, [imagecodecs.htj2k_encode(image())], HTJ2K_LOSSLESS, instance())
    accept = 'multipart/related; type="application/octet-stream"'
    for path in (INSTANCE, SERIES, "/dicom-web/studies/1.2.1"):
        answer = get(f"{path}/thumbnail?accept=image%2Fjpeg", Accept=accept)
        assert answer.headers["Content-Type"] == "image/jpeg"
        assert imagecodecs.jpeg8_decode(answer.content).shape == (SIDE, SIDE)
    small = get(f"{INSTANCE}/thumbnail?viewport=16,12", Accept="image/png")
    assert imagecodecs.png_decode(small.content).shape == (12, 12)
    assert get(f"{INSTANCE}/thumbnail", Accept="video/mp4").status == 406


def test_windows_rescaling_and_inversion_are_applied(get, store):
    scaled = instance(
        t00281052=("DS", [-1024]),
        t00281053=("DS", [2]),
        t00281050=("DS", [1000]),
        t00281051=("DS", [2000]),
        t00280004=("CS", ["MONOCHROME1"]),
    )
    hold_one(store, [imagecodecs.htj2k_encode(image())], HTJ2K_LOSSLESS, scaled)
    values = image().astype(float) * 2 - 1024

    def expected(centre, width):
        grey = ((values - (centre - 0.5)) / (width - 1) + 0.5) * 255
        return 255 - np.clip(np.rint(grey), 0, 255)

    def rendered(query=""):
        return imagecodecs.png_decode(
            get(f"{INSTANCE}/rendered{query}", Accept="image/png").content
        )

    assert np.abs(rendered() - expected(1000, 2000)).max() <= 1
    assert np.abs(rendered("?window=2000,500,linear") - expected(2000, 500)).max() <= 1


def test_a_frame_of_an_enhanced_image_has_its_own_window(get, store):
    def group(centre):
        voi = {
            "00281050": {"vr": "DS", "Value": [centre]},
            "00281051": {"vr": "DS", "Value": [512]},
        }
        return {"00289132": {"vr": "SQ", "Value": [voi]}}

    document = instance(t00280008=("IS", [2]))
    document["52009230"] = {"vr": "SQ", "Value": [group(200), group(3000)]}
    hold_one(store, [imagecodecs.htj2k_encode(image())] * 2, HTJ2K_LOSSLESS, document)
    dark, bright = (
        imagecodecs.png_decode(get(f"{INSTANCE}/frames/{n}/rendered", Accept="image/png").content)
        for n in (2, 1)
    )
    assert dark.mean() < bright.mean()
    assert get(f"{INSTANCE}/frames/3/rendered").status == 404
    assert get(f"{INSTANCE}/frames/1,2/rendered").status == 400


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL_422"])
def test_colour_is_rendered(get, store, photometric):
    colours = image(samples=3, bits=8)
    encoded = imagecodecs.jpeg8_encode(colours, level=100, colorspace="RGB", outcolorspace="YCBCR")
    document = instance(
        t00280002=("US", [3]),
        t00280004=("CS", [photometric]),
        t00280100=("US", [8]),
        t00280101=("US", [8]),
    )
    hold_one(store, [encoded], JPEG_BASELINE, document)
    rendered = imagecodecs.png_decode(get(f"{INSTANCE}/rendered", Accept="image/png").content)
    assert rendered.shape == (SIDE, SIDE, 3)
    assert np.abs(rendered.astype(int) - colours).mean() < 12


@pytest.mark.parametrize(
    "query",
    ["window=1", "window=a,b", "window=1,0", "viewport=0,1", "quality=101", "viewport=nan,1"],
)
def test_a_rendering_that_cannot_be_understood_is_refused(get, store, query):
    hold_one(store, [imagecodecs.htj2k_encode(image())], HTJ2K_LOSSLESS, instance())
    assert get(f"{INSTANCE}/rendered?{query}").status == 400


def declaring(side):
    """A codestream whose header says that it is so wide and high."""
    encoded = bytearray(imagecodecs.htj2k_encode(image()))
    at = encoded.find(b"\xff\x4f\xff\x51") + 8
    encoded[at : at + 8] = side.to_bytes(4, "big") * 2
    return bytes(encoded)


@pytest.mark.parametrize(
    "encoded",
    [
        declaring(60_000),
        declaring(SIDE - 1),
        imagecodecs.htj2k_encode(np.zeros((SIDE * 2, SIDE), "uint16")),
        imagecodecs.htj2k_encode(image())[:100],
        b"",
    ],
    ids=["huge", "smaller", "another image", "cut short", "empty"],
)
def test_a_frame_that_is_not_what_its_metadata_say_is_never_rendered(get, store, encoded):
    hold_one(store, [encoded], HTJ2K_LOSSLESS, instance())
    answer = get(f"{INSTANCE}/rendered")
    assert answer.status == 404
    assert answer.content.startswith(b'{"error":"frame: ')


def test_a_jpeg_that_declares_another_size_is_never_decoded(get, store):
    encoded = bytearray(imagecodecs.jpeg8_encode(image(bits=8), level=90))
    at = encoded.find(b"\xff\xc0") + 5
    encoded[at : at + 4] = b"\xff\xff\xff\xff"
    document = instance(t00280100=("US", [8]), t00280101=("US", [8]))
    hold_one(store, [bytes(encoded)], JPEG_BASELINE, document)
    answer = get(f"{INSTANCE}/rendered")
    assert (answer.status, b"another size" in answer.content) == (404, True)


SINGLE = "application/octet-stream; transfer-syntax=*"


@pytest.mark.parametrize(
    ("asked", "first", "end"),
    [
        ("bytes=0-9", 0, 10),
        ("bytes=5-", 5, None),
        ("bytes=-7", -7, None),
        ("bytes=3-999999", 3, None),
    ],
)
def test_a_range_of_a_single_frame_is_sent(get, store, asked, first, end):
    hold(store, pointer(), 3)
    whole = get(FRAME, Accept=SINGLE)
    answer = get(FRAME, Accept=SINGLE, Range=asked)
    assert (answer.status, answer.content) == (206, content(2)[first:end])
    start = first % len(content(2))
    stated = f"bytes {start}-{start + len(answer.content) - 1}/{len(content(2))}"
    assert answer.headers["Content-Range"] == stated
    assert (whole.headers["Accept-Ranges"], whole.headers["ETag"]) == (
        "bytes",
        answer.headers["ETag"],
    )


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ("bytes=999999-", 416),
        ("bytes=-0", 416),
        ("bytes=9-1", 416),
        ("bytes=x", 416),
        ("bytes=" + ",".join(f"{n}-{n}" for n in range(1000)), 416),
        ("bytes=" + "0-," * 3000, 416),
        ("bytes=0-0,2-2", 200),
        ("lines=1-2", 200),
        ("bytes=" + "9" * 19 + "-", 416),
    ],
)
def test_a_range_that_cannot_be_sent_is_refused_or_passed_over(get, store, asked, status):
    hold(store, pointer(), 3)
    answer = get(FRAME, Accept=SINGLE, Range=asked)
    assert answer.status == status
    if status == 416:
        assert answer.headers["Content-Range"] == f"bytes */{len(content(2))}"
        assert len(answer.content) < 200


def test_a_range_of_another_version_gets_the_whole(get, store):
    hold(store, pointer(), 3)
    etag = get(FRAME, Accept=SINGLE).headers["ETag"]
    assert get(FRAME, Accept=SINGLE, Range="bytes=0-1", If_Range=etag).status == 206
    assert get(FRAME, Accept=SINGLE, Range="bytes=0-1", If_Range='"1-other"').status == 200
    assert get(FRAME, Accept=ALL, Range="bytes=0-1").status == 200


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ("{}", 304),
        ("W/{}", 304),
        ('"a", {}', 304),
        ("*", 304),
        ('"a"', 200),
        ("{}x", 200),
        ("", 200),
    ],
)
def test_conditions_are_compared_as_lists_of_tags(get, store, condition, status):
    hold(store, pointer(), 3)
    etag = get(FRAME).headers["ETag"]
    assert get(FRAME, If_None_Match=condition.format(etag)).status == status
    answer = get(FRAME, If_None_Match=etag)
    assert (answer.headers["ETag"], answer.headers["Cache-Control"]) == (
        etag,
        "private, immutable, max-age=86400",
    )


def test_urls_in_metadata_point_to_this_node(get, store):
    sequence = {"00091011": {"vr": "OB", "BulkDataURI": "http://archive/b"}}
    document = {
        **instance(t00081190=("UR", ["http://archive/studies/1"])),
        "7FE00010": {"vr": "OW", "BulkDataURI": "http://archive/a"},
        "00081140": {"vr": "SQ", "Value": [{}, sequence]},
    }
    hold_one(store, [imagecodecs.htj2k_encode(image())], HTJ2K_LOSSLESS, document)
    for path in (f"{SERIES}/metadata", f"{INSTANCE}/metadata", "/dicom-web/studies/1.2.1/metadata"):
        answer = get(path, Accept_Encoding="gzip")
        body = gzip.decompress(answer.content)
        assert b"archive" not in body
        (found,) = json.loads(body)
        url = f"http://127.0.0.1:{get.connection.port}{INSTANCE}"
        assert found["7FE00010"]["BulkDataURI"] == f"{url}/bulkdata/7FE00010"
        assert found["00081190"]["Value"] == [url]
        inner = found["00081140"]["Value"][1]["00091011"]
        assert inner["BulkDataURI"] == f"{url}/bulkdata/00081140/2/00091011"
        other = get(path, Host="other:9", Accept_Encoding="gzip")
        assert b"http://other:9/" in gzip.decompress(other.content)
        assert other.headers["ETag"] != answer.headers["ETag"]
    pixels = get(f"{INSTANCE}/bulkdata/7FE00010", Accept=ALL)
    assert parts_of(pixels)[0].content == imagecodecs.htj2k_encode(image())


def test_a_proxys_words_count_only_where_it_is_trusted(store):
    hold(store, pointer(), 1)
    headers = {"host": "node", "x-forwarded-host": "viewer.example", "x-forwarded-proto": "https"}
    request = Request("GET", "/dicom-web/studies", (), headers, "127.0.0.1")
    for trusts, root in ((False, "http://node"), (True, "https://viewer.example")):
        routes = Routes(store, is_ready=lambda: True, trusts_proxy=trusts)
        (found,) = json.loads(routes.answer(request, routes.place_of(request), frozenset).body[0])
        assert found["00081190"]["Value"] == [f"{root}/dicom-web/studies/1.2.1"]


def test_a_patients_studies_come_best_first_if_there_is_a_plan(serve_store, store):
    for study in (1, 2, 3, 4):
        hold(store, pointer(study), 1)
    ranks = {"1.2.2": 0, "1.2.4": 1, "1.2.1": 2}
    client = Client(serve_store(order=lambda uids: {u: ranks[u] for u in uids if u in ranks}).port)

    def uids(query):
        return [one["0020000D"]["Value"][0] for one in client.json(f"/dicom-web/studies?{query}")]

    assert uids("00100020=P1") == ["1.2.2", "1.2.4", "1.2.1", "1.2.3"]
    assert uids("PatientID=P1&limit=2") == ["1.2.2", "1.2.4"]
    assert uids("limit=9") == ["1.2.4", "1.2.3", "1.2.2", "1.2.1"]
    client.close()


def test_all_instances_of_a_study_and_all_series_are_found(get, store):
    hold(store, pointer(1, 1), 2)
    hold(store, pointer(1, 2), 3)
    hold(store, pointer(2, 1), 1)
    assert len(get.json("/dicom-web/studies/1.2.1/instances")) == 5
    assert len(get.json("/dicom-web/studies/1.2.1/metadata")) == 5
    assert len(get.json("/dicom-web/series")) == 3
    assert len(get.json("/dicom-web/series?StudyInstanceUID=1.2.1")) == 2


@pytest.mark.parametrize("path", ["/", "/dicom-web", "/dicom-web/"])
def test_capabilities_are_told(get, path):
    answer = get(path, method="OPTIONS")
    assert answer.headers["Content-Type"] == "application/vnd.sun.wadl+xml"
    tree = ET.fromstring(answer.content)  # noqa: S314  # our own words
    resources = tree.find("{*}resources")
    assert resources.get("base") == f"http://127.0.0.1:{get.connection.port}/dicom-web"
    paths = {one.get("path") for one in resources}
    told = json.loads(get(path, method="OPTIONS", Accept="application/json").content)
    assert paths == {one["path"] for one in told["application"]["resources"]["resource"]}
    assert get(path, method="OPTIONS", Accept="text/html").status == 406
    assert get(FRAME, method="OPTIONS").headers["Allow"] == "GET, HEAD, OPTIONS"


def test_every_resource_that_is_told_of_is_there(get, store):
    hold_one(store, [imagecodecs.htj2k_encode(image())], HTJ2K_LOSSLESS, instance())
    told = json.loads(get("/dicom-web", method="OPTIONS", Accept="application/json").content)
    for resource in told["application"]["resources"]["resource"]:
        path = resource["path"].format(study="1.2.1", series="1.2.1.1", instance=SOP, frames="1")
        for media_type in resource["methods"][0]["response"][:1]:
            assert get(f"/dicom-web/{path}", Accept=media_type).status == 200, path


def test_metrics_count_what_was_answered(serve_store, store, board):
    hold(store, pointer(), 3)
    client = Client(serve_store(board=board).port)
    for path in (FRAME, FRAME, "/none"):
        client(path)
    text = client("/metrics").content.decode()
    assert 'teleprefetch_answers_total{status="2xx"} 2' in text
    assert 'teleprefetch_answers_total{status="4xx"} 1' in text
    assert "teleprefetch_content_hits_total 2" in text
    assert "teleprefetch_held_series 1" in text
    assert 'teleprefetch_answer_seconds_bucket{le="+Inf"} 3' in text
    named = [line.split("{")[0].split(" ")[0] for line in text.splitlines() if line[0] != "#"]
    typed = {line.split(" ")[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert {
        name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for name in named
    } <= typed
    client.close()
