import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from teleprefetch.adapters.image_set_changes import HealthImagingChanges
from teleprefetch.domain.multipart import Part, encode
from tests.local.healthimaging_fixtures import DATASTORE, Bench, Slice, bench

STUDIES = f"/datastore/{DATASTORE}/studies"
RELATED = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'}


@pytest.fixture
def archive() -> Iterator[Bench]:
    with bench() as running:
        yield running


def stored(archive: Bench, *files: bytes, path: str = STUDIES) -> Any:
    body = encode([Part({"content-type": "application/dicom"}, one) for one in files], "b")
    return archive.native("POST", path, body, **RELATED)


def test_what_is_stored_is_an_image_set_with_an_event_and_no_job(archive: Bench) -> None:
    answer = stored(archive, Slice(number=1).p10(), Slice(number=2, instance="1.2.3.1.2").p10())

    assert answer.status == 200
    rows = json.loads(answer.data)["00081199"]["Value"]
    assert [row["00081155"]["Value"] for row in rows] == [["1.2.3.1.1"], ["1.2.3.1.2"]]
    (image_set,) = archive.image_sets()
    (event,) = archive.events(1)
    assert event["detail-type"] == "Image Set Created"
    assert event["detail"]["imagesetId"] == image_set["imageSetId"]
    assert not archive.client.list_dicom_import_jobs(datastoreId=DATASTORE)["jobSummaries"]


def test_one_file_may_be_stored_as_it_is(archive: Bench) -> None:
    answer = archive.native("POST", STUDIES, Slice().p10(), **{"Content-Type": "application/dicom"})

    assert answer.status == 200
    assert len(archive.image_sets()) == 1


def test_what_cannot_be_stored_is_told_beside_what_was(archive: Bench) -> None:
    answer = stored(archive, b"no DICOM", Slice().p10())

    assert answer.status == 202
    assert len(json.loads(answer.data)["00081198"]["Value"]) == 1
    assert len(json.loads(answer.data)["00081199"]["Value"]) == 1


def test_an_instance_of_another_study_is_refused(archive: Bench) -> None:
    answer = stored(archive, Slice().p10(), path=f"{STUDIES}/1.9")

    assert answer.status == 409
    assert archive.image_sets() == []


@pytest.mark.parametrize("content_type", ["", "text/html", "multipart/related; boundary="])
def test_a_body_of_something_else_is_refused(archive: Bench, content_type: str) -> None:
    answer = archive.native("POST", STUDIES, b"--b", **{"Content-Type": content_type})

    assert answer.status == 400


def test_the_changes_of_a_data_store_are_found_however_they_came(archive: Bench) -> None:
    changes = HealthImagingChanges(archive.client, DATASTORE, sleep=lambda _: None)
    now = datetime.now(UTC)
    hour = timedelta(hours=1)
    assert changes.between(now - hour, now + hour) == ()

    stored(archive, Slice().p10())
    stored(archive, Slice(instance="1.2.3.1.2").p10())
    archive.imports({"a": Slice(study="1.2.4", series="1.2.4.1", instance="1.2.4.1.1").p10()})

    found = changes.between(now - hour, now + hour)
    summaries = archive.image_sets()
    assert [(one.image_set_id, one.version_id) for one in found] == [
        (summary["imageSetId"], summary["version"]) for summary in summaries
    ]
    assert sorted(one.version_id for one in found) == [1, 2]
    assert {one.datastore_id for one in found} == {DATASTORE}
    assert changes.between(now - 2 * hour, now - hour) == ()


def test_all_pages_of_changes_are_turned_with_a_pause_between(archive: Bench) -> None:
    pauses: list[float] = []
    changes = HealthImagingChanges(archive.client, DATASTORE, sleep=pauses.append)
    now = datetime.now(UTC)
    files = [
        Slice(study=f"1.3.{number}", series=f"1.3.{number}.1", instance=f"1.3.{number}.1.1").p10()
        for number in range(1, 61)
    ]
    stored(archive, *files)

    found = changes.between(now - timedelta(hours=1), now + timedelta(hours=1))

    assert len({one.image_set_id for one in found}) == 60
    assert len(pauses) == 1
