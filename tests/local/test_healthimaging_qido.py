import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.local.healthimaging_fixtures import Bench, Slice, bench, bundled

SERIES = "/studies/1.2.3/series/1.2.3.1"
PIXELS = np.arange(3 * 8 * 9, dtype=np.int16).reshape(3, 8, 9)


@pytest.fixture(scope="module")
def archive() -> Iterator[Bench]:
    with bench() as running:
        running.imports(
            {
                "frames.dcm": Slice(
                    pixels=PIXELS,
                    extra={"IssuerOfPatientID": "HOSPITAL"},
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
                "report.dcm": bundled("reportsi.dcm"),
            },
            prefix="two/",
        )
        yield running


def _rows(archive: Bench, path: str) -> list[dict[str, Any]]:
    answer = archive.signed(path)
    assert answer.status == 200, answer.data
    assert answer.headers["Content-Type"] == "application/dicom+json"
    return list(json.loads(answer.data))


def _values(rows: list[dict[str, Any]], tag: str) -> list[Any]:
    return [row[tag]["Value"][0] for row in rows]


def test_studies_are_found_by_patient_with_counts_and_modalities(archive: Bench) -> None:
    (row,) = _rows(archive, "/studies?PatientID=P1")
    assert row["0020000D"]["Value"] == ["1.2.3"]
    assert row["00080061"]["Value"] == ["CT", "MR"]
    assert row["00201206"]["Value"] == [2]
    assert row["00201208"]["Value"] == [3]
    assert row["00081190"]["Value"] == [archive.ahi.dicomweb_url + "/studies/1.2.3"]
    assert "00100021" not in row


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("00100020=P1", {"1.2.3"}),
        ("PatientID=P*", {"1.2.3", "1.2.5"}),
        ("PatientID=P?", {"1.2.3"}),
        ("PatientID=P", set()),
        ("PatientID=P*&StudyDate=20190101-20191231", {"1.2.5"}),
        ("PatientID=P*&StudyDate=20200101-", {"1.2.3"}),
        ("PatientID=P*&StudyDate=-20200101", {"1.2.5"}),
        ("PatientID=P*&ModalitiesInStudy=MR", {"1.2.3"}),
        ("StudyInstanceUID=1.2.3,1.2.5", {"1.2.3", "1.2.5"}),
        ("StudyInstanceUID=1.2.3&PatientName=jane&fuzzymatching=true", {"1.2.3"}),
        ("StudyInstanceUID=1.2.3&PatientName=Doe%5EJane", {"1.2.3"}),
        ("StudyInstanceUID=1.2.3&PatientName=jane", set()),
        ("AccessionNumber=OTHER", set()),
    ],
)
def test_match_keys_narrow_a_search(archive: Bench, query: str, found: set[str]) -> None:
    assert set(_values(_rows(archive, f"/studies?{query}"), "0020000D")) == found


def test_fields_are_included_when_asked_for(archive: Bench) -> None:
    for fields in ("includefield=00100021", "includefield=IssuerOfPatientID,Nonsense"):
        (row,) = _rows(archive, f"/studies?PatientID=P1&{fields}")
        assert row["00100021"]["Value"] == ["HOSPITAL"]
    (row,) = _rows(archive, "/studies?PatientID=P1&includefield=all")
    assert row["00081030"]["Value"] == ["Chest CT"]
    assert row["00100021"]["Value"] == ["HOSPITAL"]


def test_limit_and_offset_make_a_window(archive: Bench) -> None:
    everything = _values(_rows(archive, "/studies"), "0020000D")
    assert len(everything) > 3
    window = _values(_rows(archive, "/studies?limit=2&offset=1"), "0020000D")
    assert window == everything[1:3]
    assert _rows(archive, "/studies?offset=1000000") == []


def test_series_come_by_their_number(archive: Bench) -> None:
    rows = _rows(archive, "/studies/1.2.3/series")
    assert _values(rows, "0020000E") == ["1.2.3.1", "1.2.3.2"]
    assert _values(rows, "00201209") == [2, 1]
    (row,) = _rows(archive, "/studies/1.2.3/series?Modality=MR&includefield=all")
    assert row["00180015"]["Value"] == ["CHEST"]
    rows = _rows(archive, "/series?PatientID=P1&Modality=CT")
    assert _values(rows, "0020000E") == ["1.2.3.1"]


def test_instances_come_by_their_number(archive: Bench) -> None:
    rows = _rows(archive, SERIES + "/instances")
    assert _values(rows, "00080018") == ["1.2.3.1.1", "1.2.3.1.2"]
    assert rows[0]["00280008"]["Value"] == [3]
    (row,) = _rows(archive, SERIES + "/instances?SOPInstanceUID=1.2.3.1.2&includefield=all")
    assert row["00100010"]["Value"] == [{"Alphabetic": "Doe^Jane"}]
    assert len(_rows(archive, "/studies/1.2.3/instances")) == 3
    assert len(_rows(archive, "/instances?PatientID=P1&Modality=CT")) == 2


def test_instances_are_found_by_the_reason_of_their_warning(archive: Bench) -> None:
    assert len(_rows(archive, "/instances?WarningReason=45328")) == 1
    assert _rows(archive, "/instances?WarningReason=45330") == []


@pytest.mark.parametrize(
    "query",
    [
        "limit=1001",
        "limit=-1",
        "offset=1000001",
        "IssuerOfPatientID=HOSPITAL",
        "Nonsense=1",
        "includefield=" + ",".join(f"001000{n:02X}" for n in range(51)),
    ],
)
def test_undocumented_queries_are_refused(archive: Bench, query: str) -> None:
    assert archive.signed(f"/studies?{query}").status == 400


def test_searches_refuse_what_is_not_json_alone(archive: Bench) -> None:
    mixed = "application/dicom+json, multipart/related; type=application/octet-stream"
    assert archive.signed("/studies", Accept=mixed).status == 406
    assert archive.signed("/studies", Accept="application/dicom+json").status == 200
    assert archive.signed(SERIES + "/metadata", Accept=mixed).status == 200
    assert archive.signed(SERIES + "/metadata", Accept="text/html").status == 406
