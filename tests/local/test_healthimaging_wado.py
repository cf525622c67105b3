import json
import zlib
from collections.abc import Iterator
from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP
from io import BytesIO
from typing import Any

import imagecodecs
import numpy as np
import pytest
from pydicom import dcmread

from teleprefetch.local.healthimaging.accept import accepted
from teleprefetch.local.healthimaging.wire import Request
from tests.local.healthimaging_fixtures import Bench, Slice, bench, bundled

SERIES = "/studies/1.2.3/series/1.2.3.1"
INSTANCE = SERIES + "/instances/1.2.3.1.1"
J2K = "1.2.840.10008.1.2.4.90"
ELE = "1.2.840.10008.1.2.1"
HTJ2K = "1.2.840.10008.1.2.4.202"
J2K_OR_PLAIN = (
    f"multipart/related; type=image/jp2; transfer-syntax={J2K}, "
    f"multipart/related; type=application/octet-stream; transfer-syntax={ELE}"
)
PIXELS = np.arange(3 * 8 * 9, dtype=np.int16).reshape(3, 8, 9)
TABLE = bytes(2 * 1024 * 1024)
STORED = "multipart/related; type=application/octet-stream; transfer-syntax=*"


@pytest.fixture(scope="module")
def archive() -> Iterator[Bench]:
    with bench() as running:
        running.imports(
            {
                "frames.dcm": Slice(
                    pixels=PIXELS,
                    extra={"IssuerOfPatientID": "HOSPITAL", "EncapsulatedDocument": TABLE},
                ).p10(),
                "second.dcm": Slice(instance="1.2.3.1.2", number=2).p10(),
                "mr.dcm": Slice(
                    series="1.2.3.2", instance="1.2.3.2.1", series_number="2", modality="MR"
                ).p10(),
            },
            prefix="one/",
        )
        running.imports(
            {
                "other.dcm": Slice(
                    study="1.2.5",
                    series="1.2.5.1",
                    instance="1.2.5.1.1",
                    patient_id="P55",
                    study_date="20190505",
                ).p10(),
                "conflict.dcm": Slice(instance="1.2.3.1.9", accession="OTHER").p10(),
                "cut.dcm": bundled("MR_truncated.dcm"),
                "segmentation.dcm": bundled("liver_expb_1frame.dcm"),
                "report.dcm": bundled("reportsi.dcm"),
                "lossy.dcm": bundled("SC_rgb_jpeg_dcmtk.dcm"),
                "undecodable.dcm": bundled("JPEG2000-embedded-sequence-delimiter.dcm"),
            },
            prefix="two/",
        )
        yield running


def _rows(archive: Bench, path: str) -> list[dict[str, Any]]:
    answer = archive.signed(path)
    assert answer.status == 200, answer.data
    assert answer.headers["Content-Type"] == "application/dicom+json"
    return list(json.loads(answer.data))


def _parts(answer: Any) -> list[Message]:
    head = f"Content-Type: {answer.headers['Content-Type']}\r\n\r\n".encode()
    message = BytesParser(policy=HTTP).parsebytes(head + answer.data)
    assert message.is_multipart()
    return list(message.iter_parts())


def _content(part: Message) -> bytes:
    content = part.get_payload(decode=True)
    assert isinstance(content, bytes)
    return content


def _place(archive: Bench, name: str) -> str:
    """The path of one of the bundled files."""
    dataset = dcmread(BytesIO(bundled(name)))
    return (
        f"/studies/{dataset.StudyInstanceUID}/series/{dataset.SeriesInstanceUID}"
        f"/instances/{dataset.SOPInstanceUID}"
    )


def test_series_metadata_are_dicom_json_of_the_primary_image_set(archive: Bench) -> None:
    rows = _rows(archive, SERIES + "/metadata")
    assert {row["00080018"]["Value"][0] for row in rows} == {"1.2.3.1.1", "1.2.3.1.2"}
    assert rows[0]["00083002"]["Value"] == [HTJ2K]
    assert "7FE00010" not in rows[0]
    (row,) = _rows(archive, INSTANCE + "/metadata")
    assert row == next(each for each in rows if each["00080018"]["Value"] == ["1.2.3.1.1"])


def test_large_values_are_bulk_data(archive: Bench) -> None:
    (row,) = _rows(archive, INSTANCE + "/metadata")
    uri = row["00420011"]["BulkDataURI"]
    path = uri.removeprefix(archive.ahi.dicomweb_url)
    answer = archive.signed(path)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/octet-stream")
    assert answer.data == TABLE
    assert archive.signed(path[:-1] + "x").status == 404


def test_another_image_set_is_read_when_it_is_named(archive: Bench) -> None:
    (other,) = (row for row in archive.image_sets() if not row["isPrimary"])
    query = f"?imageSetId={other['imageSetId']}"
    (row,) = _rows(archive, SERIES + "/metadata" + query)
    assert row["00080018"]["Value"] == ["1.2.3.1.9"]
    path = SERIES + "/instances/1.2.3.1.9/frames/1"
    assert archive.signed(path).status == 404
    assert archive.signed(path + query).status == 200
    assert archive.signed("/studies/1.2.5/series/1.2.5.1/metadata" + query).status == 404


def test_frames_come_as_parts_in_the_order_asked_for(archive: Bench) -> None:
    answer = archive.signed(INSTANCE + "/frames/3,1", Accept=STORED)
    assert f"transfer-syntax={HTJ2K}" in answer.headers["Content-Type"]
    parts = _parts(answer)
    for part in parts:
        assert part.get_content_type() == "application/octet-stream"
        assert part.get_param("transfer-syntax") == HTJ2K
    decoded = [imagecodecs.htj2k_decode(_content(part)) for part in parts]
    assert np.array_equal(decoded, PIXELS[[2, 0]])


def test_frames_are_the_same_bytes_as_the_native_ones(archive: Bench) -> None:
    (row,) = (each for each in archive.image_sets() if _is(each, "1.2.3.1"))
    frames = archive.instances(row["imageSetId"])["1.2.3.1.1"]["ImageFrames"]
    (part,) = _parts(archive.signed(INSTANCE + "/frames/2", Accept=STORED))
    native, _ = archive.frame(row["imageSetId"], frames[1]["ID"])
    assert _content(part) == native


def _is(row: dict[str, Any], series: str) -> bool:
    return bool(row["isPrimary"] and row["DICOMTags"]["DICOMSeriesInstanceUID"] == series)


@pytest.mark.parametrize(
    ("accept", "transfer_syntax"),
    [
        ("", ELE),
        ("*/*", ELE),
        ("multipart/related; type=application/octet-stream", ELE),
        ('multipart/related; type="application/octet-stream"; transfer-syntax=' + HTJ2K, HTJ2K),
        (f"multipart/related; type=image/jphc; transfer-syntax={HTJ2K}", HTJ2K),
        (
            J2K_OR_PLAIN,
            ELE,
        ),
        (f"multipart/related; type=application/octet-stream;q=0.5, {STORED}", HTJ2K),
    ],
)
def test_a_frame_comes_in_the_first_accepted_way_there_is(
    archive: Bench, accept: str, transfer_syntax: str
) -> None:
    headers: dict[str, Any] = {"Accept": accept} if accept else {}
    answer = archive.signed(INSTANCE + "/frames/1", **headers)
    assert answer.status == 200
    assert f"transfer-syntax={transfer_syntax}" in answer.headers["Content-Type"]
    (part,) = _parts(answer)
    content = _content(part)
    if transfer_syntax == ELE:
        assert content == PIXELS[0].tobytes()
    else:
        assert np.array_equal(imagecodecs.htj2k_decode(content), PIXELS[0])


@pytest.mark.parametrize(
    ("path", "accept", "status"),
    [
        ("/frames/0", STORED, 400),
        ("/frames/1,1", STORED, 400),
        ("/frames/a", STORED, 400),
        ("/frames/4", STORED, 404),
        ("/frames/1", "application/octet-stream", 406),
        ("/frames/1", "multipart/related; type=image/jphc; transfer-syntax=1.2.3", 406),
        ("", "multipart/related; type=application/octet-stream", 406),
        ("", "application/dicom; transfer-syntax=1.2.840.10008.1.2.4.90", 406),
    ],
)
def test_what_cannot_be_given_is_refused(
    archive: Bench, path: str, accept: str, status: int
) -> None:
    assert archive.signed(INSTANCE + path, Accept=accept).status == status


@pytest.mark.parametrize("asked", ["", "; transfer-syntax=" + ELE])
def test_an_instance_comes_plain_unless_asked_otherwise(archive: Bench, asked: str) -> None:
    answer = archive.signed(INSTANCE, Accept="application/dicom" + asked)
    assert answer.headers["Content-Type"] == f"application/dicom; transfer-syntax={ELE}"
    dataset = dcmread(BytesIO(answer.data))
    assert dataset.file_meta.TransferSyntaxUID == ELE
    assert dataset.PixelData == PIXELS.tobytes()
    assert dataset.PatientID == "P1"


def test_an_instance_can_be_had_as_it_is_stored(archive: Bench) -> None:
    answer = archive.signed(INSTANCE, Accept="application/dicom; transfer-syntax=*")
    dataset = dcmread(BytesIO(answer.data))
    assert dataset.file_meta.TransferSyntaxUID == HTJ2K
    assert b"\xff\x4f\xff\x51" in dataset.PixelData


def test_a_binary_segmentation_is_stored_and_given_uncompressed(archive: Bench) -> None:
    place = _place(archive, "liver_expb_1frame.dcm")
    expected = dcmread(BytesIO(bundled("liver_1frame.dcm"))).PixelData
    for accept in ("application/dicom", "application/dicom; transfer-syntax=*"):
        dataset = dcmread(BytesIO(archive.signed(place, Accept=accept).data))
        assert dataset.file_meta.TransferSyntaxUID == ELE
        assert dataset.PixelData == expected


def test_a_report_is_an_instance_without_frames(archive: Bench) -> None:
    place = _place(archive, "reportsi.dcm")
    assert dcmread(BytesIO(archive.signed(place).data)).Modality == "SR"
    assert archive.signed(place + "/frames/1", Accept=STORED).status == 404


def test_a_lossy_frame_is_stored_as_it_came_and_decoded_when_asked(archive: Bench) -> None:
    place = _place(archive, "SC_rgb_jpeg_dcmtk.dcm")
    (part,) = _parts(archive.signed(place + "/frames/1", Accept=STORED))
    pixels = imagecodecs.jpeg8_decode(_content(part))
    (plain,) = _parts(archive.signed(place + "/frames/1"))
    assert zlib.crc32(_content(plain)) == zlib.crc32(pixels.tobytes())
    dataset = dcmread(BytesIO(archive.signed(place).data))
    assert dataset.PhotometricInterpretation == "RGB"
    assert np.array_equal(dataset.pixel_array, pixels)


def test_frames_that_cannot_be_extracted_are_not_acceptable_but_the_file_is_there(
    archive: Bench,
) -> None:
    place = _place(archive, "MR_truncated.dcm")
    assert archive.signed(place + "/frames/1", Accept=STORED).status == 406
    answer = archive.signed(place, Accept="application/dicom; transfer-syntax=*")
    assert answer.data == bundled("MR_truncated.dcm")


def test_pixels_that_cannot_be_transcoded_are_one_blob(archive: Bench) -> None:
    place = _place(archive, "JPEG2000-embedded-sequence-delimiter.dcm")
    assert archive.signed(place + "/frames/1").status == 406
    (part,) = _parts(archive.signed(place + "/frames/1", Accept=STORED))
    assert _content(part) in bundled("JPEG2000-embedded-sequence-delimiter.dcm")


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/studies/1.2.3/metadata", "study metadata"),
        (INSTANCE + "/rendered", "rendered"),
        (SERIES + "/thumbnail", "thumbnail"),
        ("/studies/1.2.3", "a whole study"),
        (SERIES, "a whole series"),
    ],
)
def test_resources_healthimaging_has_not_are_refused_by_name(
    archive: Bench, path: str, named: str
) -> None:
    answer = archive.signed(path)
    assert answer.status == 404
    assert named in json.loads(answer.data)["message"]


def test_unknown_studies_series_and_instances_are_not_found(archive: Bench) -> None:
    for path in (
        "/studies/1.9/series/1.2.3.1/metadata",
        "/studies/1.2.3/series/1.9/metadata",
        SERIES + "/instances/1.9/metadata",
        SERIES + "/instances/1.9/frames/1",
    ):
        assert archive.signed(path).status == 404
    assert _rows(archive, "/studies/1.9/series") == []


def test_browsers_of_any_origin_may_ask(archive: Bench) -> None:
    preflight = archive.http.request("OPTIONS", archive.ahi.dicomweb_url + "/studies")
    assert preflight.status == 204
    assert preflight.headers["Access-Control-Allow-Origin"] == "*"
    assert archive.signed("/studies").headers["Access-Control-Allow-Origin"] == "*"
    assert archive.signed("/studies/1.9/series/1/metadata").headers["Access-Control-Allow-Origin"]


def test_accept_headers_are_read_with_quotes_and_weights() -> None:
    header = 'a/b;q=0.1, multipart/related; type="x/y,z;w"; transfer-syntax=*, c/d;q=0'
    ranges = accepted(Request("GET", "/", {"accept": header}, b""))
    assert [each.media_type for each in ranges] == ["multipart/related", "a/b"]
    assert ranges[0].parameters == {"type": "x/y,z;w", "transfer-syntax": "*"}
