import json
import zlib
from collections.abc import Iterator
from typing import Any

import imagecodecs
import pytest
from botocore.model import ListShape, Shape, StructureShape

from teleprefetch.local.healthimaging import Settings
from tests.local.healthimaging_fixtures import DATASTORE, ROLE, Bench, Slice, bench, refused, until

SET = f"/datastore/{DATASTORE}/imageSet/"
NOBODY = "f" * 32


@pytest.fixture(scope="module")
def archive() -> Iterator[Bench]:
    with bench() as running:
        running.imports({"1.dcm": Slice().p10()}, prefix="first/")
        running.imports({"2.dcm": Slice(instance="1.2.3.1.2", number=2).p10()}, prefix="second/")
        yield running


@pytest.fixture(scope="module")
def image_set_id(archive: Bench) -> str:
    (image_set,) = archive.image_sets()
    return str(image_set["imageSetId"])


def _check(shape: Shape, document: Any, at: str) -> None:
    """Fail if the document has a member the shape has not, or lacks one it requires."""
    if isinstance(shape, StructureShape):
        assert isinstance(document, dict), at
        members = {
            member.serialization.get("name", name): (name, member)
            for name, member in shape.members.items()
        }
        assert set(document) <= set(members), at
        present = {members[name][0] for name in document}
        assert set(shape.required_members) <= present, at
        for name, value in document.items():
            _check(members[name][1], value, f"{at}.{name}")
    elif isinstance(shape, ListShape):
        for item in document:
            _check(shape.member, item, f"{at}[]")
    else:
        kinds = {
            "string": str,
            "boolean": bool,
            "integer": int,
            "timestamp": float,
        }
        assert type(document) is kinds[shape.type_name], at
        if values := getattr(shape, "enum", None):
            assert document in values, at


@pytest.mark.parametrize(
    ("operation", "method", "path", "body"),
    [
        ("GetDatastore", "GET", f"/datastore/{DATASTORE}", {}),
        ("ListDatastores", "GET", "/datastore", {}),
        ("ListDICOMImportJobs", "GET", f"/listDICOMImportJobs/datastore/{DATASTORE}", {}),
        ("GetDICOMImportJob", "GET", f"/getDICOMImportJob/datastore/{DATASTORE}/job/JOB", {}),
        ("SearchImageSets", "POST", f"/datastore/{DATASTORE}/searchImageSets?maxResults=1", {}),
        ("GetImageSet", "POST", SET + "ID/getImageSet", {}),
        ("ListImageSetVersions", "POST", SET + "ID/listImageSetVersions?maxResults=1", {}),
        (
            "StartDICOMImportJob",
            "POST",
            f"/startDICOMImportJob/datastore/{DATASTORE}",
            {
                "clientToken": "shape",
                "dataAccessRoleArn": ROLE,
                "inputS3Uri": "s3://input/nothing/",
                "outputS3Uri": "s3://output/out/",
            },
        ),
    ],
)
def test_an_answer_has_the_members_of_the_model_and_no_others(
    archive: Bench, image_set_id: str, operation: str, method: str, path: str, body: dict[str, str]
) -> None:
    (job, *_) = archive.client.list_dicom_import_jobs(datastoreId=DATASTORE)["jobSummaries"]
    path = path.replace("JOB", job["jobId"]).replace("ID/", image_set_id + "/")
    answer = archive.native(method, path, json.dumps(body).encode() if body else b"")
    assert answer.status == 200, answer.data
    model = archive.client.meta.service_model.operation_model(operation)
    _check(model.output_shape, json.loads(answer.data), operation)


def test_deleting_answers_with_the_members_of_the_model() -> None:
    with bench() as running:
        running.imports({"1.dcm": Slice().p10()})
        (image_set,) = running.image_sets()
        answer = running.native("POST", SET + image_set["imageSetId"] + "/deleteImageSet")
        model = running.client.meta.service_model.operation_model("DeleteImageSet")
        _check(model.output_shape, json.loads(answer.data), "DeleteImageSet")


def test_the_metadata_document_has_the_documented_shape(archive: Bench, image_set_id: str) -> None:
    document = archive.metadata(image_set_id)
    assert document["SchemaVersion"] == "1.1"
    assert document["DatastoreID"] == DATASTORE
    assert document["ImageSetID"] == image_set_id
    assert document["Patient"]["DICOM"]["PatientID"] == "P1"
    assert document["Study"]["DICOM"]["StudyInstanceUID"] == "1.2.3"
    series = document["Study"]["Series"]["1.2.3.1"]
    assert series["DICOM"]["Modality"] == "CT"
    assert series["DICOM"]["SeriesNumber"] == "1 "
    instance = series["Instances"]["1.2.3.1.1"]
    assert instance["StoredTransferSyntaxUID"] == "1.2.840.10008.1.2.4.202"
    assert instance["ChecksumType"] == "DECOMPRESSED"
    assert instance["DICOM"]["TransferSyntaxUID"] == "1.2.840.10008.1.2.1"
    (frame,) = instance["ImageFrames"]
    assert set(frame) == {
        "ID",
        "PixelDataChecksumFromBaseToFullResolution",
        "MinPixelValue",
        "MaxPixelValue",
        "FrameSizeInBytes",
    }


def test_an_older_version_of_the_metadata_stays_readable(archive: Bench, image_set_id: str) -> None:
    assert set(archive.instances(image_set_id, versionId="1")) == {"1.2.3.1.1"}
    assert set(archive.instances(image_set_id)) == {"1.2.3.1.1", "1.2.3.1.2"}
    with refused(404, "ResourceNotFoundException"):
        archive.metadata(image_set_id, versionId="3")


def test_versions_are_listed_newest_first_page_by_page(archive: Bench, image_set_id: str) -> None:
    pages = archive.client.get_paginator("list_image_set_versions").paginate(
        datastoreId=DATASTORE, imageSetId=image_set_id, PaginationConfig={"PageSize": 1}
    )
    rows = [row for page in pages for row in page["imageSetPropertiesList"]]
    assert [(row["versionId"], row["ImageSetWorkflowStatus"]) for row in rows] == [
        ("2", "UPDATED"),
        ("1", "CREATED"),
    ]


def test_a_frame_decodes_to_the_pixels_its_checksum_is_of(
    archive: Bench, image_set_id: str
) -> None:
    for instance in archive.instances(image_set_id).values():
        (frame,) = instance["ImageFrames"]
        content, content_type = archive.frame(image_set_id, frame["ID"])
        assert content_type == "image/jph"
        assert content[:4] == b"\xff\x4f\xff\x51"
        assert len(content) == frame["FrameSizeInBytes"]
        (level,) = frame["PixelDataChecksumFromBaseToFullResolution"]
        pixels = imagecodecs.htj2k_decode(content)
        assert (level["Height"], level["Width"]) == pixels.shape
        assert level["Checksum"] == zlib.crc32(pixels.astype("<i2").tobytes())


def test_what_does_not_exist_is_not_found(archive: Bench, image_set_id: str) -> None:
    with refused(404, "ResourceNotFoundException"):
        archive.client.get_image_set(datastoreId=DATASTORE, imageSetId=NOBODY)
    with refused(404, "ResourceNotFoundException"):
        archive.client.get_datastore(datastoreId=NOBODY)
    with refused(404, "ResourceNotFoundException"):
        archive.client.get_dicom_import_job(datastoreId=DATASTORE, jobId="nobody")
    with refused(404, "ResourceNotFoundException"):
        archive.frame(image_set_id, NOBODY)
    (frame,) = archive.instances(image_set_id)["1.2.3.1.1"]["ImageFrames"]
    with refused(404, "ResourceNotFoundException"):
        archive.frame(NOBODY, frame["ID"])


def test_malformed_requests_are_validation_errors(archive: Bench, image_set_id: str) -> None:
    for path, body in (
        (SET + "NO/getImageSet", b""),
        (SET + image_set_id + "/getImageSet?version=one", b""),
        (SET + image_set_id + "/getImageFrame", b"{"),
        (SET + image_set_id + "/getImageFrame", b"[]"),
        (SET + image_set_id + "/getImageFrame", b'{"imageFrameId":"no"}'),
        (f"/startDICOMImportJob/datastore/{DATASTORE}", b'{"clientToken":"only"}'),
        (f"/datastore/{DATASTORE}/searchImageSets?maxResults=51", b"{}"),
        (f"/datastore/{DATASTORE}/searchImageSets?nextToken=%21", b"{}"),
    ):
        answer = archive.native("POST", path, body)
        assert answer.status == 400, path
        assert answer.headers["x-amzn-ErrorType"] == "ValidationException"
        assert json.loads(answer.data)["message"]


def test_operations_that_are_left_out_are_refused_by_name(archive: Bench) -> None:
    answer = archive.native("POST", SET + NOBODY + "/copyImageSet", b"{}")
    assert answer.status == 501
    assert "CopyImageSet" in json.loads(answer.data)["message"]
    answer = archive.native("POST", "/nothing")
    assert answer.status == 404
    assert answer.headers["x-amzn-ErrorType"] == "UnknownOperationException"


def test_metadata_conflicts_while_an_image_set_is_held(archive: Bench, image_set_id: str) -> None:
    archive.ahi.processing.hold(image_set_id)
    try:
        with refused(409, "ConflictException"):
            archive.metadata(image_set_id)
    finally:
        archive.ahi.processing.release(image_set_id)
    assert archive.metadata(image_set_id)["ImageSetID"] == image_set_id


def test_a_deleted_image_set_is_locked_then_gone() -> None:
    with bench() as running:
        running.imports({"1.dcm": Slice().p10()})
        (image_set,) = running.image_sets()
        image_set_id = image_set["imageSetId"]
        (frame,) = running.instances(image_set_id)["1.2.3.1.1"]["ImageFrames"]
        answer = running.client.delete_image_set(datastoreId=DATASTORE, imageSetId=image_set_id)
        assert answer["imageSetState"] == "LOCKED"
        assert answer["imageSetWorkflowStatus"] == "DELETING"

        def state() -> bool:
            found = running.client.get_image_set(datastoreId=DATASTORE, imageSetId=image_set_id)
            return found["imageSetState"] == "DELETED" and "deletedAt" in found

        until(state)
        assert running.image_sets() == []
        with refused(404, "ResourceNotFoundException"):
            running.metadata(image_set_id)
        with refused(404, "ResourceNotFoundException"):
            running.frame(image_set_id, frame["ID"])


def test_an_image_set_that_is_being_deleted_cannot_be_read() -> None:
    with bench(settings=Settings(delete_s=600)) as running:
        running.imports({"1.dcm": Slice().p10()})
        (image_set,) = running.image_sets()
        image_set_id = image_set["imageSetId"]
        running.client.delete_image_set(datastoreId=DATASTORE, imageSetId=image_set_id)
        with refused(409, "ConflictException"):
            running.metadata(image_set_id)
        with refused(409, "ConflictException"):
            running.client.delete_image_set(datastoreId=DATASTORE, imageSetId=image_set_id)
        assert running.image_sets() == []
        running.imports({"1.dcm": Slice().p10()}, prefix="again/")
        (fresh,) = running.image_sets()
        assert fresh["imageSetId"] != image_set_id


def test_a_new_version_can_be_still_processing_for_a_while() -> None:
    with bench(settings=Settings(processing_s=0.2)) as running:
        running.imports({"1.dcm": Slice().p10()})
        (image_set,) = running.image_sets()
        with refused(409, "ConflictException"):
            running.metadata(image_set["imageSetId"])

        def readable() -> bool:
            try:
                return bool(running.metadata(image_set["imageSetId"]))
            except running.client.exceptions.ConflictException:
                return False

        until(readable)


def test_the_size_of_a_frame_can_be_that_of_its_pixels() -> None:
    with bench(settings=Settings(frame_size="decoded")) as running:
        running.imports({"1.dcm": Slice().p10()})
        (image_set,) = running.image_sets()
        (instance,) = running.instances(image_set["imageSetId"]).values()
        assert instance["ImageFrames"][0]["FrameSizeInBytes"] == 32 * 40 * 2


def test_the_log_counts_requests_by_operation_and_status(archive: Bench) -> None:
    archive.ahi.request_log.clear()
    archive.image_sets()
    with refused(404, "ResourceNotFoundException"):
        archive.client.get_image_set(datastoreId=DATASTORE, imageSetId=NOBODY)
    log = archive.ahi.request_log
    assert log.counts() == {("SearchImageSets", 200): 1, ("GetImageSet", 404): 1}
    assert [entry.operation for entry in log.entries()] == ["SearchImageSets", "GetImageSet"]
    assert log.count("GetImageSet") == 1
    assert log.count("GetImageSet", 200) == 0
