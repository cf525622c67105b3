import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleprefetch.domain.dicom_json import (
    frames_of,
    is_same_patient,
    read_instances,
    read_series,
    read_studies,
    series_record,
    study_record,
)
from teleprefetch.domain.dicom_values import date_of, integer_of, text_of, time_of
from teleprefetch.errors import CorruptPayloadError
from teleprefetch.model import FrameEntry, PatientKey

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=20,
)
tags = st.sampled_from(
    ["00080018", "00200013", "00280008", "00280010", "00280011", "00280100", "0020000D", "00081032"]
)
objects = st.dictionaries(tags, st.fixed_dictionaries({"Value": json_values}) | json_values)


def element(*values: Any) -> dict[str, Any]:
    return {"vr": "UN", "Value": list(values)}


def an_instance(number: Any, *, sop: Any = "1.2.3.4", **tags: Any) -> dict[str, Any]:
    pixels = {
        "00280010": element(4),
        "00280011": element(3),
        "00280100": element(16),
        "00280002": element(1),
    }
    return {
        "00080018": element(f"{sop}.{number}"),
        "00200013": element(number),
        **pixels,
        **tags,
    }


def frames(*instances: dict[str, Any]) -> tuple[tuple[FrameEntry, ...], int]:
    return frames_of(read_instances(json.dumps(instances).encode()))


def test_a_study_is_read_with_its_patient_and_codes():
    rows = read_studies(
        json.dumps(
            [
                {
                    "0020000D": element("1.2.3"),
                    "00080020": element("2003.05.05"),
                    "00080030": element("050743.1200"),
                    "00080050": {"vr": "SH"},
                    "00080061": element("SR", "MR"),
                    "00081030": element("Carotids "),
                    "00081032": element({"00080100": element("MRCAR"), "00080102": element("99")}),
                    "00100010": element({"Alphabetic": "Doe^Peter"}),
                    "00100020": element(" 98890234"),
                    "00100021": element("HOSPITAL"),
                    "00100040": {"vr": "CS", "Value": None},
                    "00091001": element("private"),
                }
            ]
        ).encode()
    )
    study = study_record(rows[0], ())
    assert study.patient == PatientKey(patient_id="98890234", issuer_of_patient_id="HOSPITAL")
    assert (study.patient_name, study.study_description) == ("Doe^Peter", "Carotids")
    assert (study.study_date, study.study_time) == ("20030505", "050743")
    assert study.procedure_codes == ("MRCAR",)
    assert study.modalities_in_study == ("MR", "SR")
    assert (study.accession_number, study.patient_sex) == ("", "")


def test_modalities_come_from_the_series_where_the_study_does_not_tell():
    row = read_series(b'[{"0020000E": {"Value": ["1.2.9"]}, "00080060": {"Value": ["CT"]}}]')[0]
    study = read_studies(b'[{"0020000D": {"Value": ["1.2.3"]}}]')[0]
    assert study_record(study, [series_record("1.2.3", row)]).modalities_in_study == ("CT",)


def test_the_version_of_a_series_is_the_number_of_its_instances():
    document = json.dumps(
        [{"0020000E": element("1.2.9"), "00201209": element("12 "), "00200011": element("4")}]
    )
    record = series_record("1.2.3", read_series(document.encode())[0])
    assert (record.pointer.version_id, record.number_of_instances, record.series_number) == (
        12,
        12,
        4,
    )


def test_frames_are_in_order_of_instance_number_then_of_frame():
    unnumbered = an_instance(7) | {"00200013": {"vr": "IS"}}
    entries, without_frames = frames(
        unnumbered, an_instance("10"), an_instance(9, **{"00280008": element("2 ")})
    )
    assert without_frames == 0
    assert [(entry.sop_instance_uid, entry.frame_number) for entry in entries] == [
        ("1.2.3.4.9", 1),
        ("1.2.3.4.9", 2),
        ("1.2.3.4.10", 1),
        ("1.2.3.4.7", 1),
    ]


def test_frames_without_a_proper_uid_to_ask_for_are_counted():
    assert frames(an_instance("07")) == ((), 1)


def test_an_instance_without_rows_has_no_frames():
    assert frames({"00080018": element("1.2.3")}) == ((), 0)


@pytest.mark.parametrize("count", ["1A", "0", "-3", 1.5])
def test_an_unreadable_number_of_frames_is_counted_and_not_guessed(count):
    assert frames(an_instance(1, **{"00280008": element(count)})) == ((), 1)


@pytest.mark.parametrize(
    ("tags", "expected_bytes"),
    [
        ({}, 4 * 3 * 2),
        ({"00280100": element(8), "00280002": element(3)}, 4 * 3 * 3),
        ({"00280100": element(1)}, 2),
        (
            {"00280100": element(8), "00280002": element(3), "00280004": element("YBR_FULL_422")},
            4 * 3 * 2,
        ),
        ({"00280100": {}}, 0),
    ],
)
def test_a_frame_s_length_without_compression_is_told(tags, expected_bytes):
    ((entry,), _) = frames(an_instance(1, **tags))
    assert entry.size_bytes == expected_bytes


def test_a_million_frames_are_not_believed():
    with pytest.raises(CorruptPayloadError, match="NumberOfFrames"):
        frames(an_instance(1, **{"00280008": element(1_000_000)}))


@pytest.mark.parametrize(
    "document",
    [b"", b"<html></html>", b"{}", b"[1]", b'[{"00080018": 4}]', b'[{"00080018": {"Value": 4}}]',
     b"[" * 200_000, b'[{"00080018": {"Value": ["1.2"]}}', b"\xff\xfe", b'[{"a": NaN}, 3]'],
)  # fmt: skip
def test_what_is_not_dicom_json_is_corrupt(document):
    with pytest.raises(CorruptPayloadError, match="DICOM JSON"):
        read_instances(document)


def test_a_duplicated_key_is_read_once():
    (instance,) = read_instances(b'[{"00080018": {"Value": ["1"]}, "00080018": {"Value": ["2"]}}]')
    assert instance.sop_instance_uid.text == "2"


def test_an_error_names_the_tag_and_not_its_content():
    with pytest.raises(CorruptPayloadError) as caught:
        read_studies(b'[{"00100010": {"Value": "Doe^Peter"}}]')
    assert "00100010" in str(caught.value)
    assert "Doe" not in str(caught.value)


@pytest.mark.parametrize("uid", ["", "1.02", "1.2\n", "../1", "1" * 65, "１.2"])  # noqa: RUF001
def test_a_malformed_uid_is_corrupt_and_not_repeated(uid):
    row = read_studies(json.dumps([{"0020000D": element(uid)}]).encode())[0]
    with pytest.raises(CorruptPayloadError, match=r"^StudyInstanceUID: missing or not a UID$"):
        study_record(row, ())


@given(st.lists(objects, max_size=3))
def test_any_json_gives_frames_or_a_corrupt_payload_error(document):
    try:
        entries, uncounted = frames(*document)
    except CorruptPayloadError:
        return
    assert uncounted <= len(document)
    assert all(entry.size_bytes >= 0 for entry in entries)


@pytest.mark.parametrize(
    ("asked", "found", "same"),
    [
        (("7", ""), ("7", "A"), True),
        (("7", "A"), ("7", ""), True),
        (("7", "A"), ("7", "A "), True),
        (("7", "A"), ("7", "B"), False),
        (("7", ""), ("07", ""), False),
        (("a", ""), ("A", ""), False),
    ],
)
def test_patients_are_the_same_by_id_and_by_issuer_where_stated(asked, found, same):
    keys = [PatientKey(patient_id=id_, issuer_of_patient_id=issuer) for id_, issuer in
            (asked, found)]  # fmt: skip
    assert is_same_patient(*keys) is same


def test_values_are_read_with_their_padding():
    assert text_of({"Alphabetic": "", "Ideographic": "山田^太郎"}) == "山田^太郎"
    assert [integer_of(value) for value in ("1 ", " +2", 3, 4.0, "x", True, None, "9" * 13)] == [
        1, 2, 3, 4, None, None, None, None,
    ]  # fmt: skip
    assert [date_of(text) for text in ("20240229", "2024.02.29", "2024", "")] == [
        "20240229", "20240229", "", "",
    ]  # fmt: skip
    assert [time_of(text) for text in ("07", "0709", "070907.123", "07:09:07", "7")] == [
        "070000", "070900", "070907", "070907", "",
    ]  # fmt: skip
