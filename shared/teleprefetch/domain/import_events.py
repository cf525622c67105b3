"""HealthImaging's events about imports and image sets, read into one value.

Source: HealthImaging developer guide, "Using Amazon EventBridge with HealthImaging", and
"Understanding import jobs". Its event samples spell `imagesetId`; AWS's own consumers read
`imageSetId`; both are accepted, else the last segment of `resources[0]`.
"""

import json
from collections.abc import Mapping
from typing import Any, Final, Literal

from teleprefetch.errors import InvalidPayloadError
from teleprefetch.model import ImageSetId, ObjectPointer, OriginId, Slug, Value
from teleprefetch.prefetch import digest_of

ImportKind = Literal["import", "changed", "deleted", "import failed"]

_KINDS: Final[Mapping[str, ImportKind]] = {
    "Import Job Completed": "import",
    "Import Job Failed": "import failed",
    "Image Set Created": "import",
    "Image Set Copied": "import",
    "Image Set Updated": "changed",
    "Image Set Deleted": "deleted",
}
_MANIFEST: Final = "job-output-manifest.json"


class ImportEvent(Value):
    """What an event says was imported, changed or deleted.

    `manifests` are the places where the job's manifest may be: the event's `outputS3Uri` is
    documented as the bare prefix, and seen with the job's folder.
    """

    import_id: Slug
    kind: ImportKind
    origin_id: OriginId
    image_set_id: ImageSetId | None = None
    version_id: int | None = None
    manifests: tuple[ObjectPointer, ...] = ()


def import_id_of(event: object) -> str:
    """The name of an import event, the same for each duplicate of it.

    Made of the job or image set and its state, never of the envelope's `id`: an event that is
    sent again may come with another. An event that cannot be read is named by its whole text.
    """
    try:
        return read_import_event(event).import_id
    except InvalidPayloadError:
        return "imp-" + digest_of(json.dumps(event, sort_keys=True, default=str))


def read_import_event(event: object) -> ImportEvent:
    """Read an EventBridge event of HealthImaging.

    Raises:
        InvalidPayloadError: it is foreign or malformed; the message names the field.
    """
    envelope = _mapping(event, "event")
    if envelope.get("source") != "aws.medical-imaging":
        raise InvalidPayloadError("source: not aws.medical-imaging")
    kind = _KINDS.get(_text(envelope, "detail-type", "detail-type"))
    if kind is None:
        raise InvalidPayloadError("detail-type: not one that is handled here")
    detail = _mapping(envelope.get("detail"), "detail")
    datastore_id = _text(detail, "datastoreId", "detail.datastoreId")
    if "jobId" in detail:
        return _job_event(detail, kind=kind, datastore_id=datastore_id)
    return _image_set_event(envelope, detail, kind=kind, datastore_id=datastore_id)


def _job_event(detail: Mapping[str, Any], *, kind: ImportKind, datastore_id: str) -> ImportEvent:
    job_id = _text(detail, "jobId", "detail.jobId")
    status = _text(detail, "jobStatus", "detail.jobStatus")
    folder = _s3_folder(_text(detail, "outputS3Uri", "detail.outputS3Uri"))
    job_folder = f"{datastore_id}-DicomImport-{job_id}/"
    keys = (f"{folder.key}{_MANIFEST}", f"{folder.key}{job_folder}{_MANIFEST}")
    return ImportEvent.parse(
        {
            "import_id": "imp-" + digest_of(datastore_id, job_id, status),
            "kind": kind,
            "origin_id": datastore_id,
            "manifests": [{"bucket": folder.bucket, "key": key} for key in keys],
        },
        at="detail",
    )


def _image_set_event(
    envelope: Mapping[str, Any],
    detail: Mapping[str, Any],
    *,
    kind: ImportKind,
    datastore_id: str,
) -> ImportEvent:
    image_set_id = detail.get("imagesetId") or detail.get("imageSetId") or _last_resource(envelope)
    version = detail.get("imageSetVersion")
    state = str(detail.get("imageSetWorkflowStatus", ""))
    return ImportEvent.parse(
        {
            "import_id": "imp-" + digest_of(datastore_id, str(image_set_id), str(version), state),
            "kind": kind,
            "origin_id": datastore_id,
            "image_set_id": image_set_id,
            "version_id": version,
        },
        at="detail",
    )


def _last_resource(envelope: Mapping[str, Any]) -> str:
    resources = envelope.get("resources")
    if not isinstance(resources, list) or not resources:
        raise InvalidPayloadError("detail.imagesetId: missing, and so is resources")
    return str(resources[0]).rsplit("/", 1)[-1]


def _s3_folder(uri: str) -> ObjectPointer:
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != "s3" or not bucket:
        raise InvalidPayloadError("detail.outputS3Uri: not an s3 address")
    return ObjectPointer(bucket=bucket, key=key if key.endswith("/") or not key else key + "/")


def _mapping(document: object, field: str) -> Mapping[str, Any]:
    if not isinstance(document, Mapping):
        raise InvalidPayloadError(f"{field}: not an object")
    return document


def _text(document: Mapping[str, Any], key: str, field: str) -> str:
    text = document.get(key)
    if not isinstance(text, str) or not text:
        raise InvalidPayloadError(f"{field}: missing, or not text")
    return text
