"""Steps of the import machine: events become named prefetches, purges and one outcome."""

import json
from datetime import timedelta
from typing import Any

import pytest

from teleprefetch.errors import (
    CorruptPayloadError,
    InvalidPayloadError,
    OriginUnavailableError,
)
from teleprefetch.prefetch import ImportedStudies, ImportResolution
from teleprefetch.settings import Routing
from teleprefetch.steps import record_import, resolve_import, start_prefetch
from tests.builders import DATASTORE_ID, IMAGE_SET_ID, NOW, a_job_event, an_image_set_event
from tests.fake_origin import FakeOrigin
from tests.fakes import (
    FakeImageSets,
    MemoryDocuments,
    MemoryExecutions,
    MemoryOutcomes,
    MemoryRuns,
)
from tests.origin_builders import a_study, a_uid

ROUTING = Routing(
    nodes={"node-a": "https://queue/a", "node-b": "https://queue/b"},
    locations={"home": ("node-a", "node-b")},
)
TODAY, LONG_AGO = "20261124", "20200101"
MANIFEST_KEY = (
    f"{DATASTORE_ID}-DicomImport-a6a1d220f152e7aab6d8925d995d8b76/job-output-manifest.json"
)


def manifest(*image_set_ids: str, failed: int = 0) -> bytes:
    summary = {
        "imageSetsSummary": [{"imageSetId": one} for one in image_set_ids],
        "numberOfFilesWithCustomerError": failed,
    }
    return json.dumps({"jobSummary": summary}).encode()


class World:
    def __init__(self, **studies: str) -> None:
        """Image sets by id, each of a study of its own with the given date."""
        self.documents = MemoryDocuments()
        numbered = dict(enumerate(studies.items(), start=1))
        self.origin = FakeOrigin(
            a_study(number, study_date=day) for number, (_, day) in numbered.items()
        )
        self.image_sets = FakeImageSets(
            {image_set: a_uid(number) for number, (image_set, _) in numbered.items()}
        )

    def resolve(self, event: Any, **changed: Any) -> ImportResolution:
        given: dict[str, Any] = {
            "origins": {DATASTORE_ID: self.origin},
            "image_sets": {DATASTORE_ID: self.image_sets},
            "documents": self.documents,
            "routing": ROUTING,
            "import_locations": ("home",),
            "historical_after_days": 14,
            "now": NOW,
        }
        return resolve_import.run(event, **(given | changed))

    def requests(self, resolution: ImportResolution) -> ImportedStudies:
        return self.documents.get(resolution.requests, ImportedStudies)


def test_a_completed_job_asks_for_a_prefetch_of_each_recent_study() -> None:
    world = World(one=TODAY, two=TODAY, three=LONG_AGO)
    world.documents.objects["output", "job-output-manifest.json"] = manifest(
        "one", "two", "three", failed=2
    )

    resolution = world.resolve(a_job_event())

    assert (resolution.studies, resolution.historical, resolution.files_failed) == (2, 1, 2)
    asked = world.requests(resolution).requests
    assert [request.study_instance_uid for request in asked] == [a_uid(1), a_uid(2)]
    assert {request.reading_locations for request in asked} == {("home",)}


def test_the_manifest_is_also_found_in_the_folder_of_its_job() -> None:
    world = World(one=TODAY)
    world.documents.objects["output", MANIFEST_KEY] = manifest("one")

    assert world.resolve(a_job_event()).studies == 1


def test_a_manifest_that_is_not_there_yet_is_worth_a_retry() -> None:
    with pytest.raises(OriginUnavailableError, match=r"detail\.outputS3Uri"):
        World().resolve(a_job_event())


def test_a_manifest_that_is_half_written_is_corrupt() -> None:
    world = World(one=TODAY)
    world.documents.objects["output", "job-output-manifest.json"] = manifest("one")[:30]

    with pytest.raises(CorruptPayloadError):
        world.resolve(a_job_event())


def test_an_image_set_that_is_gone_is_counted_and_the_rest_goes_on() -> None:
    world = World(one=TODAY)
    world.documents.objects["output", "job-output-manifest.json"] = manifest("one", "gone")

    resolution = world.resolve(a_job_event())

    assert (resolution.studies, resolution.missing) == (1, 1)


def test_a_study_that_is_imported_but_not_yet_searchable_is_worth_a_retry() -> None:
    world = World(**{IMAGE_SET_ID: TODAY})
    world.origin.forget(a_uid(1))

    with pytest.raises(OriginUnavailableError, match="not searchable yet"):
        world.resolve(an_image_set_event())


def test_events_of_one_state_of_a_study_name_the_same_prefetch() -> None:
    world = World(**{IMAGE_SET_ID: TODAY})
    world.documents.objects["output", "job-output-manifest.json"] = manifest(IMAGE_SET_ID)

    by_job = world.requests(world.resolve(a_job_event())).requests
    by_image_set = world.requests(world.resolve(an_image_set_event())).requests

    names = [{one.prefetch_id for one in requests} for requests in (by_job, by_image_set)]
    assert names[0] == names[1]
    assert by_job[0].of != by_image_set[0].of  # each says which event asked for it


def test_every_study_counts_as_recent_where_the_limit_is_off_or_the_date_unreadable() -> None:
    assert (
        World(**{IMAGE_SET_ID: LONG_AGO})
        .resolve(an_image_set_event(), historical_after_days=0)
        .studies
        == 1
    )
    assert World(**{IMAGE_SET_ID: "soon"}).resolve(an_image_set_event()).studies == 1


def test_a_deleted_image_set_is_purged_from_every_node() -> None:
    resolution = World().resolve(an_image_set_event("Image Set Deleted", imageSetState="DELETED"))

    assert resolution.kind == "deleted"
    assert [purge.queue_url for purge in resolution.purges] == list(ROUTING.nodes.values())
    assert {purge.order.below_version for purge in resolution.purges} == {None}


def test_an_updated_image_set_purges_what_is_older_and_is_prefetched_anew() -> None:
    world = World(**{IMAGE_SET_ID: TODAY})

    resolution = world.resolve(an_image_set_event("Image Set Updated", imageSetVersion="3"))

    assert {purge.order.below_version for purge in resolution.purges} == {3}
    assert resolution.studies == 1


def test_an_unknown_data_store_is_refused_by_name() -> None:
    with pytest.raises(InvalidPayloadError, match=r"^detail\.datastoreId: "):
        World().resolve(a_job_event(datastoreId="0" * 32))


def resolved(documents: MemoryDocuments, studies: int) -> dict[str, Any]:
    world = World(**{f"image-set-{number}": TODAY for number in range(studies)})
    world.documents = documents
    documents.objects["output", "job-output-manifest.json"] = manifest(
        *(f"image-set-{number}" for number in range(studies))
    )
    return {"resolution": world.resolve(a_job_event()).model_dump(mode="json")}


def test_each_study_is_started_once_in_batches_until_none_remains() -> None:
    documents, executions = MemoryDocuments(), MemoryExecutions()
    state = resolved(documents, studies=5)

    started, rounds = None, 0
    while started is None or started.remaining:
        started = start_prefetch.run(state, documents=documents, executions=executions, batch=2)
        state["started"] = started.model_dump(mode="json")
        rounds += 1

    assert rounds == 3
    assert len(executions.started) == 5
    assert (started.started, started.already) == (5, 0)


def test_a_study_that_was_started_before_is_counted_and_not_started_again() -> None:
    documents, executions = MemoryDocuments(), MemoryExecutions()
    state = resolved(documents, studies=1)
    name = (
        documents.get(ImportResolution.parse(state["resolution"]).requests, ImportedStudies)
        .requests[0]
        .prefetch_id
    )
    executions.started[name] = {"request": "of another time"}

    started = start_prefetch.run(state, documents=documents, executions=executions)

    assert (started.started, started.already) == (0, 1)


@pytest.mark.parametrize(
    ("studies", "event", "state"),
    [
        ({"one": TODAY}, a_job_event(), "prefetching"),
        ({"one": LONG_AGO}, a_job_event(), "historical"),
        ({}, a_job_event(), "empty"),
        ({}, a_job_event("Import Job Failed", jobStatus="FAILED"), "import failed"),
        ({}, an_image_set_event("Image Set Deleted"), "deleted"),
    ],
)
def test_an_import_ends_in_one_outcome_however_often_it_is_recorded(
    studies: dict[str, str], event: dict[str, Any], state: str
) -> None:
    world, outcomes = World(**studies), MemoryOutcomes()
    world.documents.objects["output", "job-output-manifest.json"] = manifest(*studies)
    resolution = world.resolve(event)
    started = start_prefetch.run(
        {"resolution": resolution.model_dump(mode="json")},
        documents=world.documents,
        executions=MemoryExecutions(),
    )
    given = event | {
        "resolution": resolution.model_dump(mode="json"),
        "started": started.model_dump(mode="json"),
    }

    first = record_import.run(given, outcomes=outcomes, runs=MemoryRuns(), now=NOW)
    again = record_import.run(
        given, outcomes=outcomes, runs=MemoryRuns(), now=NOW + timedelta(hours=1)
    )

    assert first.state == state
    assert again == first
    assert list(outcomes.standing.values()) == [first]


def test_a_refused_event_is_recorded_with_the_field_that_is_wrong() -> None:
    outcomes = MemoryOutcomes()
    error = {
        "Error": "InvalidPayloadError",
        "Cause": json.dumps({"errorMessage": "detail.jobId: missing, or not text"}),
    }

    outcome = record_import.run(
        a_job_event(jobId=1) | {"error": error}, outcomes=outcomes, runs=MemoryRuns(), now=NOW
    )

    assert outcome.state == "refused"
    assert outcome.cause == "InvalidPayloadError: detail.jobId: missing, or not text"


def test_each_prefetch_of_an_import_knows_the_event_and_so_does_its_record() -> None:
    world = World(one=TODAY)
    world.documents.objects["output", MANIFEST_KEY] = manifest("one")
    event = a_job_event() | {"id": "6a7e8feb-b491"}

    resolution = world.resolve(event)
    [request] = world.requests(resolution).requests
    runs = MemoryRuns()
    started = {"next": 1, "remaining": 0, "started": 1, "already": 0}
    state = event | {"resolution": resolution.model_dump(mode="json"), "started": started}
    record_import.run(state, outcomes=MemoryOutcomes(), runs=runs, now=NOW)

    assert request.event_id == "6a7e8feb-b491"
    assert [run.event_id for run in runs.known.values()] == ["6a7e8feb-b491"]


def test_an_import_without_an_event_of_its_own_stands_for_it() -> None:
    world = World(one=TODAY)
    world.documents.objects["output", MANIFEST_KEY] = manifest("one")
    event = {name: value for name, value in a_job_event().items() if name != "id"}

    resolution = world.resolve(event)
    [request] = world.requests(resolution).requests

    assert request.event_id == resolution.import_id
