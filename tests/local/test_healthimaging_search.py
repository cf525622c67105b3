from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from teleprefetch.local.healthimaging import Settings
from tests.local.healthimaging_fixtures import DATASTORE, Bench, Slice, bench, refused

OLD = Slice(study="1.2.1", series="1.2.1.1", instance="1.2.1.1.1", study_date="20200101")
NEW = Slice(study="1.2.2", series="1.2.2.1", instance="1.2.2.1.1", study_date="20240101")
OTHER = Slice(
    study="1.2.9", series="1.2.9.1", instance="1.2.9.1.1", patient_id="P9", accession="A9"
)
CONFLICT = Slice(study="1.2.2", series="1.2.2.1", instance="1.2.2.1.2", accession="A7")


@pytest.fixture(scope="module")
def archive() -> Iterator[Bench]:
    with bench() as running:
        for name, each in {"old": OLD, "new": NEW, "other": OTHER, "conflict": CONFLICT}.items():
            running.imports({"a.dcm": each.p10()}, prefix=f"{name}/")
        yield running


def _find(archive: Bench, *filters: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    criteria = {"filters": list(filters)} if filters else {}
    answer = archive.client.search_image_sets(datastoreId=DATASTORE, searchCriteria=criteria | more)
    return list(answer["imageSetsMetadataSummaries"])


def _equal(**value: Any) -> dict[str, Any]:
    return {"operator": "EQUAL", "values": [value]}


def _between(name: str, low: Any, high: Any) -> dict[str, Any]:
    return {"operator": "BETWEEN", "values": [{name: low}, {name: high}]}


def _studies(rows: list[dict[str, Any]]) -> list[str]:
    return [row["DICOMTags"]["DICOMStudyInstanceUID"] for row in rows]


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ({"DICOMPatientId": "P1"}, {"1.2.1", "1.2.2"}),
        ({"DICOMPatientId": "nobody"}, set()),
        ({"DICOMAccessionNumber": "A9"}, {"1.2.9"}),
        ({"DICOMStudyId": "S1"}, {"1.2.1", "1.2.2", "1.2.9"}),
        ({"DICOMStudyInstanceUID": "1.2.1"}, {"1.2.1"}),
        ({"DICOMSeriesInstanceUID": "1.2.2.1"}, {"1.2.2"}),
        ({"isPrimary": False}, {"1.2.2"}),
    ],
)
def test_equality_finds_what_has_the_value(
    archive: Bench, value: dict[str, Any], found: set[str]
) -> None:
    assert set(_studies(_find(archive, _equal(**value)))) == found


def test_a_range_of_study_dates_includes_both_ends(archive: Bench) -> None:
    dates = [{"DICOMStudyDate": day} for day in ("20200101", "20230101")]
    assert _studies(_find(archive, _between("DICOMStudyDateAndTime", *dates))) == ["1.2.1"]
    noon = {"DICOMStudyDate": "20200101", "DICOMStudyTime": "120000.000001"}
    assert not _find(archive, _between("DICOMStudyDateAndTime", noon, dates[1]))


def test_ranges_of_update_times_go_with_one_identifier(archive: Bench) -> None:
    now = datetime.now(UTC)
    hour = timedelta(hours=1)
    series = _equal(DICOMSeriesInstanceUID="1.2.1.1")
    assert len(_find(archive, series, _between("updatedAt", now - hour, now + hour))) == 1
    assert not _find(archive, series, _between("updatedAt", now - 2 * hour, now - hour))
    assert len(_find(archive, _between("createdAt", now - hour, now + hour))) == 4


def test_the_last_updated_comes_first_unless_asked_otherwise(archive: Bench) -> None:
    assert _studies(_find(archive)) == ["1.2.2", "1.2.9", "1.2.2", "1.2.1"]
    by_date = {"sortField": "DICOMStudyDateAndTime", "sortOrder": "ASC"}
    assert _studies(_find(archive, sort=by_date))[0] == "1.2.1"
    by_creation = {"sortField": "createdAt", "sortOrder": "ASC"}
    assert _studies(_find(archive, sort=by_creation)) == ["1.2.1", "1.2.2", "1.2.9", "1.2.2"]


def test_pages_go_on_where_the_last_ended(archive: Bench) -> None:
    pages = archive.client.get_paginator("search_image_sets").paginate(
        datastoreId=DATASTORE, PaginationConfig={"PageSize": 3}
    )
    assert [len(page["imageSetsMetadataSummaries"]) for page in pages] == [3, 1]


def test_a_token_belongs_to_its_search(archive: Bench) -> None:
    token = archive.client.search_image_sets(datastoreId=DATASTORE, maxResults=1)["nextToken"]
    with refused(400, "ValidationException"):
        archive.client.search_image_sets(
            datastoreId=DATASTORE,
            nextToken=token,
            searchCriteria={"filters": [_equal(DICOMPatientId="P1")]},
        )


def test_a_row_tells_what_ranking_needs(archive: Bench) -> None:
    (row,) = _find(archive, _equal(DICOMStudyInstanceUID="1.2.1"))
    assert row["version"] == 1
    assert row["isPrimary"] is True
    assert row["storageTier"] == "FREQUENT_ACCESS"
    assert row["DICOMTags"] == {
        "DICOMPatientId": "P1",
        "DICOMPatientName": "Doe^Jane",
        "DICOMPatientBirthDate": "19700101",
        "DICOMPatientSex": "F",
        "DICOMStudyInstanceUID": "1.2.1",
        "DICOMStudyId": "S1",
        "DICOMStudyDescription": "Chest CT",
        "DICOMNumberOfStudyRelatedSeries": 1,
        "DICOMNumberOfStudyRelatedInstances": 1,
        "DICOMAccessionNumber": "A1",
        "DICOMSeriesInstanceUID": "1.2.1.1",
        "DICOMSeriesModality": "CT",
        "DICOMSeriesBodyPart": "CHEST",
        "DICOMSeriesNumber": 1,
        "DICOMStudyDate": "20200101",
        "DICOMStudyTime": "120000",
    }


@pytest.mark.parametrize(
    "filters",
    [
        [{"operator": "BETWEEN", "values": [{"DICOMPatientId": "a"}, {"DICOMPatientId": "b"}]}],
        [{"operator": "EQUAL", "values": [{"DICOMPatientId": "a"}, {"DICOMPatientId": "b"}]}],
        [{"operator": "EQUAL", "values": [{"updatedAt": datetime(2024, 1, 1, tzinfo=UTC)}]}],
        [{"operator": "BETWEEN", "values": [{"isPrimary": True}, {"isPrimary": False}]}],
        [
            {
                "operator": "BETWEEN",
                "values": [
                    {"DICOMStudyDateAndTime": {"DICOMStudyDate": "2024"}},
                    {"DICOMStudyDateAndTime": {"DICOMStudyDate": "20240101"}},
                ],
            }
        ],
        [_equal(DICOMPatientId="P1"), _equal(isPrimary=True)],
        [_equal(DICOMPatientId="P1"), _equal(DICOMStudyId="S1")],
    ],
)
def test_undocumented_filters_are_refused(archive: Bench, filters: list[dict[str, Any]]) -> None:
    with refused(400, "ValidationException"):
        _find(archive, *filters)


def test_any_pair_of_filters_can_be_allowed() -> None:
    with bench(settings=Settings(search_pairs="any")) as running:
        running.imports({"a.dcm": NEW.p10()})
        assert len(_find(running, _equal(DICOMPatientId="P1"), _equal(isPrimary=True))) == 1
