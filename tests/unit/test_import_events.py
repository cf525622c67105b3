"""domain.import_events: HealthImaging's events in each spelling, and what is refused by name."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleprefetch.domain.import_events import import_id_of, read_import_event
from teleprefetch.errors import InvalidPayloadError
from tests.builders import DATASTORE_ID, IMAGE_SET_ID, a_job_event, an_image_set_event


def test_a_completed_job_names_both_places_where_its_manifest_may_be() -> None:
    event = read_import_event(a_job_event(outputS3Uri="s3://output/jobs"))

    folder = f"jobs/{DATASTORE_ID}-DicomImport-a6a1d220f152e7aab6d8925d995d8b76"
    assert [pointer.key for pointer in event.manifests] == [
        "jobs/job-output-manifest.json",
        f"{folder}/job-output-manifest.json",
    ]
    assert {pointer.bucket for pointer in event.manifests} == {"output"}


@pytest.mark.parametrize(
    "detail",
    [
        {},
        {"imagesetId": None, "imageSetId": IMAGE_SET_ID},
        {"imagesetId": None},
        {"isPrimary": None, "imageSetVersion": None},
        {"somethingNew": 1},
    ],
    ids=["as documented", "as AWS reads it", "resources alone", "no version", "unknown field"],
)
def test_the_image_set_is_found_in_every_spelling(detail: dict[str, Any]) -> None:
    assert read_import_event(an_image_set_event(**detail)).image_set_id == IMAGE_SET_ID


@pytest.mark.parametrize("version", ["3", 3])
def test_the_version_may_be_text_or_number(version: object) -> None:
    event = read_import_event(an_image_set_event("Image Set Updated", imageSetVersion=version))

    assert (event.kind, event.version_id) == ("changed", 3)


def test_an_event_that_is_sent_again_has_the_same_import_id() -> None:
    again = a_job_event() | {"id": "another", "time": "2026-11-24T12:30:00Z"}

    assert import_id_of(again) == import_id_of(a_job_event())


def test_each_version_of_an_image_set_has_an_import_id_of_its_own() -> None:
    versions = [an_image_set_event(imageSetVersion=version) for version in ("1", "2")]

    assert len({import_id_of(event) for event in versions}) == 2


@pytest.mark.parametrize(
    ("event", "field"),
    [
        ([], "event"),
        ({}, "source"),
        (a_job_event() | {"source": "aws.s3"}, "source"),
        (a_job_event("Import Job Submitted"), "detail-type"),
        (a_job_event() | {"detail": "text"}, "detail"),
        (a_job_event(datastoreId=None), "detail.datastoreId"),
        (a_job_event(datastoreId="a b"), "detail.origin_id"),
        (a_job_event(outputS3Uri="https://x/"), "detail.outputS3Uri"),
        (a_job_event(jobStatus=1), "detail.jobStatus"),
        (an_image_set_event(imagesetId="../../etc"), "detail.image_set_id"),
        (an_image_set_event(imagesetId="5b3a711878c34d40e88825331938864\n"), "detail.image_set_id"),
        (an_image_set_event(imageSetVersion="one"), "detail.version_id"),
        (an_image_set_event(imagesetId=None) | {"resources": []}, "detail.imagesetId"),
    ],
)
def test_a_foreign_or_malformed_event_is_refused_by_the_name_of_its_field(
    event: object, field: str
) -> None:
    with pytest.raises(InvalidPayloadError, match=f"^{field}: "):
        read_import_event(event)


def test_an_event_that_cannot_be_read_has_an_import_id_too() -> None:
    assert import_id_of({"detail": 1}).startswith("imp-")
    assert import_id_of({"detail": 1}) != import_id_of({"detail": 2})


_json = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(detail=st.dictionaries(st.sampled_from(sorted(a_job_event()["detail"])), _json))
def test_whatever_the_detail_holds_it_is_read_or_refused(detail: dict[str, Any]) -> None:
    for event in (a_job_event(**detail), an_image_set_event(**detail)):
        with contextlib.suppress(InvalidPayloadError):
            read_import_event(event)
