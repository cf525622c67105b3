import json
from typing import Any

import pytest

from teleprefetch.domain.image_set_metadata import ImageSetMetadata, read_image_set_metadata
from teleprefetch.errors import CorruptPayloadError
from teleprefetch.model import PatientKey

STUDY, SERIES = "1.3.6.1.4.0", "1.3.6.1.5.0"


def a_frame(letter: str, **fields: Any) -> dict[str, Any]:
    return {
        "ID": letter * 32,
        "PixelDataChecksumFromBaseToFullResolution": [
            {"Width": 320, "Height": 320, "Checksum": 7},
            {"Width": 640, "Height": 640, "Checksum": 989529591},
        ],
        "MinPixelValue": 0,
        "MaxPixelValue": 2025,
        "FrameSizeInBytes": 168371,
        **fields,
    }


def an_instance(number: Any, *frames: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "DICOM": {"InstanceNumber": number, "NumberOfFrames": "1 ", "Rows": 640, "Columns": 640},
        "DICOMVRs": {},
        "StoredTransferSyntaxUID": "1.2.840.10008.1.2.4.202",
        "ChecksumType": "DECOMPRESSED",
        "ImageFrames": list(frames),
        **fields,
    }


def a_document(instances: dict[str, Any]) -> dict[str, Any]:
    return {
        "SchemaVersion": "1.1",
        "DatastoreID": "d" * 32,
        "ImageSetID": "e" * 32,
        "Patient": {"DICOM": {"PatientID": "NOID ", "PatientName": "NAME^NONE"}},
        "Study": {
            "DICOM": {"StudyInstanceUID": STUDY, "StudyDate": "20000101"},
            "Series": {SERIES: {"DICOM": {"SeriesNumber": "1 "}, "Instances": instances}},
        },
    }


def read(document: Any) -> ImageSetMetadata:
    return read_image_set_metadata(json.dumps(document).encode())


def test_frames_come_in_order_of_instance_number_with_what_is_known_of_them():
    metadata = read(
        a_document(
            {
                "1.2.26": an_instance("11", a_frame("a")),
                "1.2.27": an_instance("9 ", a_frame("b"), a_frame("c", FrameSizeInBytes=None)),
            }
        )
    )
    assert metadata.study_instance_uid == STUDY
    assert metadata.patient == PatientKey(patient_id="NOID")
    series = metadata.series[SERIES]
    assert series.without_frames == 0
    assert [
        (one.sop_instance_uid, one.frame_number, one.image_frame_id, one.size_bytes)
        for one in series.frames
    ] == [
        ("1.2.27", 1, "b" * 32, 168371),
        ("1.2.27", 2, "c" * 32, 0),
        ("1.2.26", 1, "a" * 32, 168371),
    ]
    assert {one.crc32 for one in series.frames} == {989529591}


def test_pixels_without_frames_are_counted_and_reports_are_not():
    report = {"DICOM": {"InstanceNumber": "2"}}
    video = an_instance("3", a_frame("a"), StoredTransferSyntaxUID="1.2.840.10008.1.2.4.102")
    broken = an_instance("1", ImageFrames=None)
    series = read(a_document({"1.1": report, "1.2": video, "1.3": broken})).series[SERIES]
    assert (series.frames, series.without_frames) == ((), 2)


def test_frames_without_a_proper_uid_to_ask_for_are_counted():
    series = read(a_document({"1.02": an_instance("1", a_frame("a"))})).series[SERIES]
    assert (series.frames, series.without_frames) == ((), 1)


def test_a_checksum_of_other_than_decoded_pixels_is_not_taken():
    instance = an_instance("1", a_frame("a"), ChecksumType="COMPRESSED")
    (entry,) = read(a_document({"1.1": instance})).series[SERIES].frames
    assert entry.crc32 is None


def a_broken(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    document = a_document({"1.9.99": an_instance("1", a_frame("a"))})
    at = document
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return document


INSTANCE = ("Study", "Series", SERIES, "Instances", "1.9.99")


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (("Study",), None, "Study"),
        (("Study", "DICOM", "StudyInstanceUID"), "1.02", "Study.DICOM.StudyInstanceUID"),
        (("Study", "Series"), [], "Study.Series"),
        ((*INSTANCE, "ImageFrames"), "x", "Instances.*.ImageFrames"),
        ((*INSTANCE, "ImageFrames", 0, "ID"), "../x", "ImageFrames.0.ID"),
        ((*INSTANCE, "ImageFrames", 0, "FrameSizeInBytes"), -1, "FrameSizeInBytes"),
        (("Study", "Series", SERIES, "Instances"), {"DOE^JOHN": 3}, "Instances.*"),
    ],
)
def test_a_malformed_field_is_named_without_its_content(path, value, named):
    with pytest.raises(CorruptPayloadError) as caught:
        read(a_broken(path, value))
    assert named in str(caught.value)
    assert not any(content in str(caught.value) for content in ("1.9.99", SERIES, "DOE", "1.02"))


@pytest.mark.parametrize("document", [b"", b"{", b"[]", b"[" * 200_000, b"<html/>"])
def test_what_is_no_metadata_is_corrupt(document):
    with pytest.raises(CorruptPayloadError, match="image set metadata"):
        read_image_set_metadata(document)
