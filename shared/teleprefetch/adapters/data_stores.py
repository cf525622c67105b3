"""The data stores among a site's archives, with what HealthImaging alone has of them."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

from teleprefetch.model import OriginId
from teleprefetch.settings import DicomwebOrigin, HealthImagingOrigin

if TYPE_CHECKING:
    from mypy_boto3_medical_imaging.client import HealthImagingClient

T = TypeVar("T")


def of_data_stores(
    origins: Mapping[OriginId, HealthImagingOrigin | DicomwebOrigin],
    make: "Callable[[HealthImagingClient, str], T]",
    *,
    client: "Callable[[str], HealthImagingClient]",
) -> dict[str, T]:
    """An adapter for each data store, by its id; none for other archives.

    Args:
        origins: every archive's settings, by its id.
        make: makes an adapter of a client and the data store's id.
        client: gives the client of a Region.
    """
    return {
        origin_id: make(client(origin.region), origin_id)
        for origin_id, origin in origins.items()
        if isinstance(origin, HealthImagingOrigin)
    }
