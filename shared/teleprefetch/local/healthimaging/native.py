"""The native operations on image sets, their metadata and their frames."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from teleprefetch.dicom import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    HTJ2K,
    HTJ2K_LOSSLESS_RPCL,
    JPEG_2000,
    JPEG_BASELINE,
)
from teleprefetch.local.healthimaging.archive import Archive, ImageSet, Version
from teleprefetch.local.healthimaging.documents import FrameSize, metadata_document
from teleprefetch.local.healthimaging.native_jobs import ID_PATTERN, DataStore
from teleprefetch.local.healthimaging.notices import Notices
from teleprefetch.local.healthimaging.paging import page_of, paged_response
from teleprefetch.local.healthimaging.pixels import JPEG_XL
from teleprefetch.local.healthimaging.processing import Processing
from teleprefetch.local.healthimaging.searching import SearchPairs, search, summary_of
from teleprefetch.local.healthimaging.segment import Segment
from teleprefetch.local.healthimaging.wire import Call, Response, ServiceError, json_response

# API reference, GetImageFrame, contentType; "video/H256" is spelt so there.
_CONTENT_TYPES: Final = {
    HTJ2K_LOSSLESS_RPCL: "image/jph",
    HTJ2K: "image/jphc",
    EXPLICIT_VR_LITTLE_ENDIAN: "application/octet-stream",
    JPEG_BASELINE: "image/jpeg",
    JPEG_2000: "image/j2c",
    JPEG_XL: "image/jxl",
}


@dataclass(frozen=True, slots=True)
class Native:
    """Answers native requests that were authorised and let through."""

    datastore: DataStore
    archive: Archive
    segment: Segment
    notices: Notices
    processing: Processing
    clock: Callable[[], datetime]
    search_pairs: SearchPairs
    frame_size: FrameSize
    delete: Callable[[str], None]
    _documents: dict[tuple[str, int], bytes] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def search_image_sets(self, call: Call) -> Response:
        """SearchImageSets."""
        criteria = call.request.json()
        found, sort = search(self.archive, criteria, pairs=self.search_pairs)
        page, token = page_of(found, call.request, query=criteria)
        rows = [summary_of(image_set, self.archive) for image_set in page]
        return paged_response("imageSetsMetadataSummaries", rows, token, sort=sort)

    def get_image_set(self, call: Call) -> Response:
        """GetImageSet; a deleted image set is still told of."""
        image_set = self.archive.get(_valid_id(call.path["image_set_id"]))
        version = image_set.version(call.request.parameter("version"))
        arn = f"{self.datastore.arn}/imageset/{image_set.image_set_id}"
        return json_response(
            {
                "datastoreId": self.datastore.datastore_id,
                **_properties(image_set, version),
                "imageSetWorkflowStatus": _status(image_set, version),
                "imageSetArn": arn,
                "storageTier": "FREQUENT_ACCESS",
            }
        )

    def list_image_set_versions(self, call: Call) -> Response:
        """ListImageSetVersions, the newest first."""
        image_set = self.archive.get(_valid_id(call.path["image_set_id"]))
        versions = list(reversed(image_set.versions))
        page, token = page_of(versions, call.request, query=["versions", image_set.image_set_id])
        rows = [
            # This shape spells the member with a capital; the others do not (botocore's model).
            {
                **_properties(image_set, version),
                "ImageSetWorkflowStatus": _status(image_set, version),
            }
            for version in page
        ]
        return paged_response("imageSetPropertiesList", rows, token)

    def get_image_set_metadata(self, call: Call) -> Response:
        """GetImageSetMetadata."""
        image_set = self.archive.readable(_valid_id(call.path["image_set_id"]))
        version = image_set.version(call.request.parameter("version"))
        self.processing.check(image_set)
        key = (image_set.image_set_id, version.number)
        with self._lock:
            document = self._documents.get(key)
        if document is None:
            document = metadata_document(
                self.datastore.datastore_id,
                image_set,
                version,
                segment=self.segment,
                frame_size=self.frame_size,
            )
            with self._lock:
                self._documents[key] = document
        return Response(body=document, headers={"Content-Encoding": "gzip"})

    def get_image_frame(self, call: Call) -> Response:
        """GetImageFrame: the bytes as stored."""
        frame_id = call.request.json().get("imageFrameId")
        if not isinstance(frame_id, str):
            raise ServiceError("ValidationException", "imageFrameId is missing")
        place = self.archive.frame(_valid_id(call.path["image_set_id"]), _valid_id(frame_id))
        return Response(
            body=self.segment.read(place.frame.extent),
            content_type=content_type_of(place.transfer_syntax_uid),
            paced=True,
        )

    def delete_image_set(self, call: Call) -> Response:
        """DeleteImageSet; it is DELETING when this returns, and DELETED later."""
        locked = self.archive.begin_delete(_valid_id(call.path["image_set_id"]), self.clock())
        self.notices.image_set_changed(locked)
        self.delete(locked.image_set_id)
        return json_response(
            {
                "datastoreId": self.datastore.datastore_id,
                "imageSetId": locked.image_set_id,
                "imageSetState": locked.state,
                "imageSetWorkflowStatus": locked.workflow_status,
            }
        )


def content_type_of(transfer_syntax_uid: str) -> str:
    """The Content-Type that GetImageFrame gives a stored transfer syntax."""
    found = _CONTENT_TYPES.get(transfer_syntax_uid)
    if found is not None:
        return found
    number = int(transfer_syntax_uid.split(".")[7])
    if number in {100, 101}:
        return "video/mpeg"
    return "video/mp4" if number <= 106 else "video/H256"


def _valid_id(text: str) -> str:
    if ID_PATTERN.fullmatch(text) is None:
        raise ServiceError("ValidationException", "An id is malformed")
    return text


def _properties(image_set: ImageSet, version: Version) -> dict[str, Any]:
    deleted = (
        {} if image_set.deleted_at is None else {"deletedAt": image_set.deleted_at.timestamp()}
    )
    return {
        "imageSetId": image_set.image_set_id,
        "versionId": str(version.number),
        "imageSetState": image_set.state,
        "createdAt": image_set.created_at.timestamp(),
        "updatedAt": version.created_at.timestamp(),
        **deleted,
        "isPrimary": image_set.is_primary,
    }


def _status(image_set: ImageSet, version: Version) -> str:
    newest = version.number == image_set.latest.number
    return image_set.workflow_status if newest else version.workflow_status
