"""Renders a frame as JPEG or PNG (PS3.18 8.3.5), for thumbnails and plain browsers.

It is no diagnostic image: there is no presentation state, no VOI LUT and no overlay in it.
"""

from dataclasses import dataclass
from typing import Any, Final

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from teleprefetch.edge.dicomweb.images import Pixels, Shape, decode
from teleprefetch.edge.dicomweb.messages import Request
from teleprefetch.edge.store.attributes import Attributes, text_of
from teleprefetch.errors import InvalidPayloadError

JPEG: Final = "image/jpeg"
PNG: Final = "image/png"
MEDIA_TYPES: Final = (JPEG, PNG)
THUMBNAIL_SIDE: Final = 128
_MOST_SIDE: Final = 4096
_QUALITY: Final = 90
_SHARED_GROUPS: Final = "52009229"
_GROUPS_PER_FRAME: Final = "52009230"
_VOI: Final = "00289132"  # Frame VOI LUT Sequence
_TRANSFORMATION: Final = "00289145"  # Pixel Value Transformation Sequence
# Where samples come out of the decoder as they went into the encoder: raw, RLE, JPEG-LS.
_AS_STORED: Final = frozenset(
    {
        "1.2.840.10008.1.2",
        "1.2.840.10008.1.2.1",
        "1.2.840.10008.1.2.5",
        "1.2.840.10008.1.2.4.80",
        "1.2.840.10008.1.2.4.81",
    }
)
Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Wanted:
    """How a client wants an image rendered.

    `window` is centre and width; `side` the most of rows and of columns, None for all.
    """

    media_type: str = JPEG
    quality: int = _QUALITY
    window: tuple[float, float] | None = None
    viewport: tuple[int, int] | None = None

    @classmethod
    def of(cls, request: Request, media_type: str, *, side: int | None = None) -> "Wanted":
        """Read the query parameters `quality`, `window` and `viewport` (PS3.18 8.3.5.1).

        Raises:
            InvalidPayloadError: one of them is malformed.
        """
        quality = _numbers(request, "quality", 1, 1)
        window = _numbers(request, "window", 2, 3)
        viewport = _numbers(request, "viewport", 2, 6)
        if quality and not 1 <= quality[0] <= 100:
            raise InvalidPayloadError("query.quality: not from 1 to 100")
        if window and window[1] <= 0:
            raise InvalidPayloadError("query.window: its width is not above 0")
        if viewport and not all(1 <= length <= _MOST_SIDE for length in viewport[:2]):
            raise InvalidPayloadError("query.viewport: too small or too big")
        sides = (int(viewport[0]), int(viewport[1])) if viewport else (side, side) if side else None
        return cls(
            media_type=media_type,
            quality=int(quality[0]) if quality else _QUALITY,
            window=(window[0], window[1]) if window else None,
            viewport=sides,
        )


def render(
    content: bytes,
    transfer_syntax_uid: str,
    instance: Attributes,
    *,
    frame_number: int,
    wanted: Wanted,
) -> bytes:
    """The image of one frame.

    Raises:
        InvalidPayloadError: it is of a kind that is not rendered.
        CorruptPayloadError: it cannot be decoded, or is of another size than its metadata say.
    """
    shape = Shape.of(instance)
    pixels = decode(content, transfer_syntax_uid, shape)
    if wanted.viewport is not None:
        pixels = _fitted(pixels, *wanted.viewport)
    if shape.samples == 3:
        image = _colours(pixels, shape, transfer_syntax_uid)
    elif shape.photometric.startswith("MONOCHROME"):
        image = _greys(pixels, shape, instance, frame_number, wanted.window)
    else:
        raise InvalidPayloadError("instance: its photometric interpretation is not rendered")
    image = np.ascontiguousarray(image)
    if wanted.media_type == PNG:
        return bytes(imagecodecs.png_encode(image, level=3))
    return bytes(imagecodecs.jpeg8_encode(image, level=wanted.quality))


def _greys(
    pixels: Pixels,
    shape: Shape,
    instance: Attributes,
    frame_number: int,
    window: tuple[float, float] | None,
) -> Bytes:
    slope = _decimal(instance, "00281053", _TRANSFORMATION, frame_number) or 1.0
    intercept = _decimal(instance, "00281052", _TRANSFORMATION, frame_number) or 0.0
    values = pixels.astype(np.float32) * slope + intercept
    centre, width = window or _window(instance, frame_number, values)
    # PS3.3 C.11.2.1.2.1, LINEAR.
    scaled = ((values - (centre - 0.5)) / max(width - 1.0, 1e-6) + 0.5) * 255.0
    grey = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    inverted: Bytes = 255 - grey
    return inverted if shape.photometric == "MONOCHROME1" else grey


def _window(instance: Attributes, frame_number: int, values: Pixels) -> tuple[float, float]:
    centre = _decimal(instance, "00281050", _VOI, frame_number)
    width = _decimal(instance, "00281051", _VOI, frame_number)
    if centre is not None and width is not None and width >= 1:
        return centre, width
    low, high = float(values.min()), float(values.max())
    return (low + high + 1) / 2, high - low + 1


def _colours(pixels: Pixels, shape: Shape, transfer_syntax_uid: str) -> Bytes:
    if pixels.dtype.itemsize > 1:
        pixels = pixels >> (shape.bits_stored - 8)
    image = pixels.astype(np.uint8)
    # The decoders of JPEG and JPEG 2000 give RGB.
    is_decoded_to_rgb = transfer_syntax_uid not in _AS_STORED and shape.photometric.startswith(
        "YBR"
    )
    if shape.photometric == "RGB" or is_decoded_to_rgb:
        return image
    if shape.photometric != "YBR_FULL":
        raise InvalidPayloadError("instance: its photometric interpretation is not rendered")
    luma, blue, red = (image[..., number].astype(np.float32) for number in range(3))
    rgb = (
        luma + 1.402 * (red - 128),
        luma - 0.344136 * (blue - 128) - 0.714136 * (red - 128),
        luma + 1.772 * (blue - 128),
    )
    image_rgb: Bytes = np.clip(np.rint(np.stack(rgb, axis=-1)), 0, 255).astype(np.uint8)
    return image_rgb


def _fitted(pixels: Pixels, width: int, height: int) -> Pixels:
    """The image in a viewport, its shape kept; never enlarged (block means, then nearest)."""
    rows, columns = pixels.shape[:2]
    scale = max(rows / height, columns / width, 1.0)
    block = int(scale)
    if block > 1:
        cut = pixels[: rows // block * block, : columns // block * block]
        blocks = cut.reshape(rows // block, block, columns // block, block, *cut.shape[2:])
        pixels = blocks.mean(axis=(1, 3), dtype=np.float32).astype(pixels.dtype)
    across = max(1, min(round(columns / scale), pixels.shape[1]))
    down = max(1, min(round(rows / scale), pixels.shape[0]))
    chosen_rows = np.arange(down) * pixels.shape[0] // down
    chosen_columns = np.arange(across) * pixels.shape[1] // across
    fitted: Pixels = pixels[chosen_rows][:, chosen_columns]
    return fitted


def _decimal(instance: Attributes, tag: str, group: str, frame_number: int) -> float | None:
    """A number of the image, or of the frame by its functional groups (PS3.3 C.7.6.16)."""
    for place in _places(instance, group, frame_number):
        text = text_of(place, tag)
        try:
            return float(text)
        except ValueError:
            continue
    return None


def _places(instance: Attributes, group: str, frame_number: int) -> list[Attributes]:
    per_frame = _items(instance, _GROUPS_PER_FRAME)[frame_number - 1 : frame_number]
    groups = (*per_frame, *_items(instance, _SHARED_GROUPS)[:1])
    return [*(item for one in groups for item in _items(one, group)[:1]), instance]


def _items(attributes: Attributes, tag: str) -> list[Any]:
    element = attributes.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return [item for item in values if isinstance(item, dict)] if isinstance(values, list) else []


def _numbers(request: Request, name: str, least: int, most: int) -> list[float]:
    text = request.asked(name)
    if not text:
        return []
    parts = text.split(",")
    numeric = parts[:2] if name == "window" else parts
    try:
        numbers = [float(part) for part in numeric]
    except ValueError:
        raise InvalidPayloadError(f"query.{name}: not numbers") from None
    if not least <= len(parts) <= most or not np.isfinite(numbers).all():
        raise InvalidPayloadError(f"query.{name}: not as many numbers as it takes")
    return numbers
