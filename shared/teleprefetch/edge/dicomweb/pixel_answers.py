"""Answers with pixels (PS3.18 10.4): frames, bulk data, whole instances, rendered images."""

import re
from collections.abc import Sequence
from typing import Final

from teleprefetch.domain.multipart import closing, opening
from teleprefetch.edge.dicomweb import media, part10
from teleprefetch.edge.dicomweb.frame_answers import (
    FRAME_CACHING,
    VARIES,
    content_of,
    digest_of,
    frames_answer,
    pixels_answer,
)
from teleprefetch.edge.dicomweb.messages import Request, Response, Shown, refusal
from teleprefetch.edge.dicomweb.metadata_answers import instance_of
from teleprefetch.edge.dicomweb.rendering import MEDIA_TYPES, THUMBNAIL_SIDE, Wanted, render
from teleprefetch.edge.dicomweb.sources import Source
from teleprefetch.edge.store.attributes import Attributes, read_instances, text_of
from teleprefetch.edge.store.holdings import StoredFrame
from teleprefetch.edge.store.rows import unpack
from teleprefetch.errors import InvalidPayloadError, StudyNotFoundError

_MOST_FRAMES: Final = 1000
_MOST_INSTANCE_BYTES: Final = 128 << 20
_PIXEL_DATA: Final = "7FE00010"
_EXPLICIT_VR: Final = "1.2.840.10008.1.2.1"
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,8}")
Parts = dict[str, str]


class PixelAnswers:
    """Retrieves what is made of frames."""

    def frames(self, request: Request, parts: Parts, source: Source) -> Response:
        """Retrieve frames as they are stored."""
        numbers = _frame_numbers(parts["list"])
        frames, basis = source.frames(parts["study"], parts["series"], parts["sop"], numbers)
        return frames_answer(request, frames, basis)

    def bulkdata(self, request: Request, parts: Parts, source: Source) -> Response:
        """Retrieve bulk data; of an instance's, its pixels alone are held."""
        if parts["place"].upper() != _PIXEL_DATA:
            raise StudyNotFoundError("bulkdata: only pixels are held here")
        instance = _instance(source, parts)
        numbers = range(1, part10.frame_count(instance) + 1)
        if not numbers:
            raise StudyNotFoundError("bulkdata: the instance has no pixels")
        frames, basis = source.frames(parts["study"], parts["series"], parts["sop"], numbers)
        return pixels_answer(request, frames, basis)

    def instance(self, request: Request, parts: Parts, source: Source) -> Response:
        """Retrieve an instance as a file, where it can be put together without loss."""
        instance = _instance(source, parts)
        numbers = range(1, part10.frame_count(instance) + 1)
        frames: list[StoredFrame] = []
        if numbers:
            frames, _ = source.frames(parts["study"], parts["series"], parts["sop"], numbers)
        syntaxes = {frame.transfer_syntax_uid for frame in frames} or {_EXPLICIT_VR}
        if len(syntaxes) > 1:
            return refusal(406, "instance: its frames are in several transfer syntaxes")
        if sum(frame.length_bytes for frame in frames) > _MOST_INSTANCE_BYTES:
            return refusal(406, "instance: too big to be put together here; ask for its frames")
        (syntax,) = syntaxes
        chosen = media.dicom_form(request.accept, syntax)
        if chosen is None:
            return refusal(406, "accept: the instance is not held in such a form")
        try:
            file = part10.build(instance, list(map(content_of, frames)), syntax)
        except InvalidPayloadError as error:
            return refusal(406, str(error))
        etag = ("ETag", f'"{digest_of(frames, text_of(instance, "00080018"))}-{len(file)}"')
        return _file_answer(file, syntax, (etag, FRAME_CACHING, VARIES), chosen)

    def rendered(self, request: Request, parts: Parts, source: Source) -> Response:
        """Retrieve an instance's or a frame's image as JPEG or PNG."""
        return self._rendered(request, parts, source, side=None)

    def thumbnail(self, request: Request, parts: Parts, source: Source) -> Response:
        """Retrieve a small image of a frame, or of the middle of an instance, series or study."""
        return self._rendered(request, parts, source, side=THUMBNAIL_SIDE)

    def _rendered(
        self, request: Request, parts: Parts, source: Source, *, side: int | None
    ) -> Response:
        media_type = media.image_type(request.accept, MEDIA_TYPES)
        if media_type is None:
            return refusal(406, "accept: images are rendered as JPEG or PNG")
        wanted = Wanted.of(request, media_type, side=side)
        series, instance = _middle(source, parts)
        count = part10.frame_count(instance)
        number = _one_frame(parts["list"]) if "list" in parts else (count // 2 + 1 if side else 1)
        if not count or number > count:
            raise StudyNotFoundError("instance: has no such frame")
        sop = text_of(instance, "00080018")
        (frame,), basis = source.frames(parts["study"], series, sop, [number])
        try:
            image = render(
                content_of(frame),
                frame.transfer_syntax_uid,
                instance,
                frame_number=number,
                wanted=wanted,
            )
        except InvalidPayloadError as error:
            return refusal(406, str(error))
        headers = (
            ("Content-Type", media_type),
            ("ETag", f'"{digest_of([frame], repr(wanted))}"'),
            FRAME_CACHING,
            VARIES,
        )
        shown = Shown(series, sop, (number,), version=str(frame.version_id))
        return Response(200, headers, (image,), basis, shown=shown)


def _instance(source: Source, parts: Parts) -> Attributes:
    return instance_of(source, parts["study"], parts["series"], parts["sop"])


def _middle(source: Source, parts: Parts) -> tuple[str, Attributes]:
    """The instance that stands for what is asked for, with its series' UID."""
    if "sop" in parts:
        return parts["series"], _instance(source, parts)
    for series, packed in source.metadata(parts["study"], parts.get("series"))[0]:
        images = [one for one in read_instances(unpack(packed)) if part10.frame_count(one)]
        if images:
            return series, sorted(images, key=_instance_number)[len(images) // 2]
    raise StudyNotFoundError("series: has no image")


def _instance_number(instance: Attributes) -> int:
    text = text_of(instance, "00200013").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def _file_answer(
    file: bytes,
    syntax: str,
    headers: tuple[tuple[str, str], ...],
    chosen: media.Representation,
) -> Response:
    described = f"{media.DICOM}; transfer-syntax={syntax}"
    if not chosen.is_multipart:
        return Response(200, (("Content-Type", described), *headers), (file,))
    boundary = f"instance-{len(file):x}-{hash(file) & 0xFFFFFFFFFFFFFFFF:x}"
    part = opening(boundary, {"Content-Type": described, "Content-Length": str(len(file))})
    content_type = f'multipart/related; type="{media.DICOM}"; boundary={boundary}'
    body = (part, file, closing(boundary))
    return Response(200, (("Content-Type", content_type), *headers), body)


def _frame_numbers(text: str) -> Sequence[int]:
    numbers = text.split(",")
    if len(numbers) > _MOST_FRAMES:
        raise InvalidPayloadError("path.frames: too many")
    if not all(_NUMBER.fullmatch(number) for number in numbers):
        raise InvalidPayloadError("path.frames: not a list of frame numbers (PS3.18 10.4.1)")
    if len({*numbers}) < len(numbers):
        raise InvalidPayloadError("path.frames: a number is there twice")
    return [int(number) for number in numbers]


def _one_frame(text: str) -> int:
    numbers = _frame_numbers(text)
    if len(numbers) != 1:
        raise InvalidPayloadError("path.frames: one frame is rendered at a time")
    return numbers[0]
