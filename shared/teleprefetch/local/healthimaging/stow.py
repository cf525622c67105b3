"""STOW-RS: instances stored one request at a time, without an import job.

Source: developer guide, "Storing instances with DICOMweb": application/dicom by itself or in
multipart/related; the answer is PS3.18's (Table I.2-1), and there are no events but those of image
sets.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from teleprefetch.domain.multipart import ContentType, decode
from teleprefetch.errors import CorruptPayloadError
from teleprefetch.local.healthimaging.accept import DICOM_JSON
from teleprefetch.local.healthimaging.archive import Archive
from teleprefetch.local.healthimaging.ingest import ImportRefusedError, Instance, ingest
from teleprefetch.local.healthimaging.notices import Notices
from teleprefetch.local.healthimaging.segment import Segment
from teleprefetch.local.healthimaging.wire import Call, Response, ServiceError

_DICOM: Final = "application/dicom"
_MOST_PARTS: Final = 1000
_REFERENCED: Final = "00081199"
_FAILED: Final = "00081198"
_CANNOT_UNDERSTAND: Final = 0xC000  # PS3.18 Table I.2-2


@dataclass(frozen=True, slots=True)
class Stow:
    """Stores what was authorised and let through."""

    archive: Archive
    segment: Segment
    notices: Notices
    studies_url: str
    clock: Callable[[], datetime]

    def store(self, call: Call) -> Response:
        """StoreDICOM, and StoreDICOMStudy, which refuses instances of other studies."""
        stored: list[Instance] = []
        refused = 0
        for p10 in _files(call):
            try:
                instance = ingest(p10, segment=self.segment, studies_url=self.studies_url)
            except ImportRefusedError:
                refused += 1
                continue
            if (
                call.path.get("study", instance.tags["StudyInstanceUID"])
                != (instance.tags["StudyInstanceUID"])
            ):
                refused += 1
            else:
                stored.append(instance)
        for change in self.archive.commit(stored, self.clock()):
            self.notices.image_set_changed(change.image_set)
        return Response(
            status=409 if not stored else 202 if refused else 200,
            body=json.dumps(_answer(stored, refused)).encode(),
            content_type=DICOM_JSON,
        )


def _files(call: Call) -> Iterator[bytes]:
    request = call.request
    content_type = ContentType.parse(request.headers.get("content-type", ""))
    if content_type.media_type == _DICOM:
        yield request.body
        return
    try:
        parts = decode(
            content_type, request.body, max_parts=_MOST_PARTS, max_part_bytes=len(request.body)
        )
    except CorruptPayloadError as error:
        raise ServiceError("ValidationException", str(error)) from error
    for part in parts:
        yield part.content


def _answer(stored: list[Instance], refused: int) -> dict[str, Any]:
    document: dict[str, Any] = {}
    if stored:
        rows = [
            {
                "00081150": {"vr": "UI", "Value": [one.tags["SOPClassUID"]]},
                "00081155": {"vr": "UI", "Value": [one.tags["SOPInstanceUID"]]},
            }
            for one in stored
        ]
        document[_REFERENCED] = {"vr": "SQ", "Value": rows}
    if refused:
        row = {"00081197": {"vr": "US", "Value": [_CANNOT_UNDERSTAND]}}
        document[_FAILED] = {"vr": "SQ", "Value": [row] * refused}
    return document
