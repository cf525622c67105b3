"""WADO-RS, the five resources there are (developer guide, "Retrieving DICOM data")."""

import uuid
from dataclasses import dataclass
from typing import Final

from teleprefetch.dicom import EXPLICIT_VR_LITTLE_ENDIAN
from teleprefetch.local.healthimaging.accept import (
    DICOM_JSON,
    MediaRange,
    accepted,
    require_json,
)
from teleprefetch.local.healthimaging.archive import Archive, ImageSet
from teleprefetch.local.healthimaging.ingest import Instance
from teleprefetch.local.healthimaging.part10 import plain_file, stored_file
from teleprefetch.local.healthimaging.pixels import decode
from teleprefetch.local.healthimaging.segment import Segment
from teleprefetch.local.healthimaging.wire import Call, Response, ServiceError

_OCTETS: Final = "application/octet-stream"
_BLOB_CODES: Final = {45312, 45344}


@dataclass(frozen=True, slots=True)
class _Frames:
    """The frames that were asked for, and how they are presented."""

    contents: list[bytes]
    media_type: str
    transfer_syntax_uid: str


@dataclass(frozen=True, slots=True)
class Wado:
    """Answers retrievals that were authorised and let through."""

    archive: Archive
    segment: Segment

    def series_metadata(self, call: Call) -> Response:
        """GetDICOMSeriesMetadata."""
        require_json(call.request, only=False)
        instances = self._image_set(call).latest.instances.values()
        documents = [self.segment.read(instance.dicom_json) for instance in instances]
        return Response(body=b"[" + b",".join(documents) + b"]", content_type=DICOM_JSON)

    def instance_metadata(self, call: Call) -> Response:
        """GetDICOMInstanceMetadata."""
        require_json(call.request, only=False)
        document = self.segment.read(self._instance(call).dicom_json)
        return Response(body=b"[" + document + b"]", content_type=DICOM_JSON)

    def instance(self, call: Call) -> Response:
        """GetDICOMInstance, plain unless the client accepts it as stored."""
        instance = self._instance(call)
        for media_range in accepted(call.request):
            if media_range.media_type not in {"application/dicom", "application/*", "*/*"}:
                continue
            asked = media_range.parameters.get("transfer-syntax", EXPLICIT_VR_LITTLE_ENDIAN)
            found = self._file(instance, asked)
            if found is not None:
                return found
        raise ServiceError("NotAcceptableException", "Not available in an accepted representation")

    def frames(self, call: Call) -> Response:
        """GetDICOMInstanceFrames."""
        instance = self._instance(call)
        numbers = _frame_numbers(call.path["frames"])
        for media_range in accepted(call.request):
            found = self._frames(instance, numbers, media_range)
            if found is not None:
                return _multipart(found)
        raise ServiceError("NotAcceptableException", "Not available in an accepted representation")

    def bulkdata(self, call: Call) -> Response:
        """GetDICOMBulkdata."""
        for digest, extent in self._instance(call).bulk:
            if digest == call.path["digest"]:
                return Response(body=self.segment.read(extent), content_type=_OCTETS)
        raise ServiceError("ResourceNotFoundException", "The bulk data does not exist")

    def _file(self, instance: Instance, asked: str) -> Response | None:
        stored_as = instance.stored_transfer_syntax_uid
        wanted = stored_as if asked == "*" else asked
        is_plain = wanted == EXPLICIT_VR_LITTLE_ENDIAN
        if wanted == stored_as and not (is_plain and instance.frames):
            content: bytes | None = stored_file(instance, self.segment)
        else:
            content = plain_file(instance, self.segment) if is_plain else None
        if content is None:
            return None
        media_type = f"application/dicom; transfer-syntax={wanted}"
        return Response(body=content, content_type=media_type, paced=True)

    def _frames(
        self, instance: Instance, numbers: list[int], media_range: MediaRange
    ) -> _Frames | None:
        media_type = _part_type(media_range)
        if media_type is None:
            return None
        asked = media_range.parameters.get("transfer-syntax", EXPLICIT_VR_LITTLE_ENDIAN)
        stored_as = instance.stored_transfer_syntax_uid
        if not instance.frames:
            blob = self._blob(instance)
            return _Frames([blob], media_type, stored_as) if asked == "*" and blob else None
        if max(numbers) > len(instance.frames):
            raise ServiceError("ResourceNotFoundException", "The instance has no such frame")
        contents = [self.segment.read(instance.frames[number - 1].extent) for number in numbers]
        if asked in {"*", stored_as}:
            return _Frames(contents, media_type, stored_as)
        if asked != EXPLICIT_VR_LITTLE_ENDIAN:
            return None
        plain = [decode(content, stored_as) for content in contents]
        decoded = [content for content in plain if content is not None]
        return _Frames(decoded, _OCTETS, asked) if len(decoded) == len(plain) else None

    def _blob(self, instance: Instance) -> bytes | None:
        if not instance.warnings:
            raise ServiceError("ResourceNotFoundException", "The instance has no frames")
        if instance.blob is None or instance.warnings[-1].code not in _BLOB_CODES:
            return None
        return self.segment.read(instance.blob)

    def _image_set(self, call: Call) -> ImageSet:
        image_set_id = call.request.parameter("imageSetId")
        if image_set_id is None:
            found = self.archive.primary(call.path["series"])
        else:
            found = self.archive.readable(image_set_id)
        wanted = (call.path["study"], call.path["series"])
        if found is None or wanted != _uids(found):
            raise ServiceError("ResourceNotFoundException", "The series does not exist")
        return found

    def _instance(self, call: Call) -> Instance:
        found = self._image_set(call).latest.instances.get(call.path["instance"])
        if found is None:
            raise ServiceError("ResourceNotFoundException", "The instance does not exist")
        return found


def _uids(image_set: ImageSet) -> tuple[str, str]:
    tags = image_set.representative.tags
    return tags["StudyInstanceUID"], tags["SeriesInstanceUID"]


def _frame_numbers(text: str) -> list[int]:
    parts = text.split(",")
    if not all(part.isascii() and part.isdigit() and part[0] != "0" for part in parts):
        raise ServiceError("ValidationException", "Frame numbers are integers from 1")
    numbers = [int(part) for part in parts]
    if len(set(numbers)) != len(numbers):
        raise ServiceError("ValidationException", "Frame numbers are given twice")
    return numbers


def _part_type(media_range: MediaRange) -> str | None:
    """The media type of the parts that a media range asks for; None if it asks for none."""
    if media_range.media_type == "*/*":
        return _OCTETS
    if media_range.media_type not in {"multipart/related", "multipart/*"}:
        return None
    media_type = media_range.parameters.get("type", _OCTETS).lower()
    known = media_type == _OCTETS or media_type.startswith(("image/", "video/"))
    return media_type if known else None


def _multipart(frames: _Frames) -> Response:
    boundary = uuid.uuid4().hex
    part_type = f"{frames.media_type}; transfer-syntax={frames.transfer_syntax_uid}"
    head = f"--{boundary}\r\nContent-Type: {part_type}\r\n".encode()
    body = b"".join(
        head + f"Content-Length: {len(content)}\r\n\r\n".encode() + content + b"\r\n"
        for content in frames.contents
    )
    # The transfer syntax is repeated at the top: viewers look for it there alone.
    content_type = (
        f'multipart/related; type="{frames.media_type}"; boundary={boundary}; '
        f"transfer-syntax={frames.transfer_syntax_uid}"
    )
    return Response(
        body=body + f"--{boundary}--\r\n".encode(), content_type=content_type, paced=True
    )
