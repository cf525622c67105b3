"""The archives of the settings, each opened when it is first asked for."""

from collections.abc import Iterator, Mapping
from threading import Lock
from typing import Final

import boto3
from botocore.config import Config

from teleprefetch.adapters.dicomweb import DicomwebOrigin
from teleprefetch.adapters.dicomweb_service import DicomwebService
from teleprefetch.adapters.healthimaging import HealthImagingOrigin
from teleprefetch.adapters.healthimaging_errors import SIGNING_NAME, signer
from teleprefetch.adapters.http_reader import HttpReader
from teleprefetch.adapters.retrying import RetryPolicy
from teleprefetch.ports import Origin
from teleprefetch.settings import DicomwebOrigin as DicomwebSettings
from teleprefetch.settings import HealthImagingOrigin as HealthImagingSettings

_DEFAULT_CONNECTIONS: Final = 32
_CONNECT_TIMEOUT_S: Final = 5.0
_READ_TIMEOUT_S: Final = 15.0


class Origins(Mapping[str, Origin]):
    """The archives by id; safe to share between threads."""

    def __init__(
        self,
        settings: Mapping[str, HealthImagingSettings | DicomwebSettings],
        *,
        connections: int,
        retries: RetryPolicy,
    ) -> None:
        self._settings = settings
        self._connections = connections
        self._retries = retries
        self._opened: dict[str, HealthImagingOrigin | DicomwebOrigin] = {}
        self._lock = Lock()

    def __getitem__(self, origin_id: str) -> Origin:
        settings = self._settings[origin_id]
        with self._lock:
            if origin_id not in self._opened:
                self._opened[origin_id] = open_origin(
                    origin_id, settings, connections=self._connections, retries=self._retries
                )
            return self._opened[origin_id]

    def __contains__(self, origin_id: object) -> bool:
        return origin_id in self._settings

    def __iter__(self) -> Iterator[str]:
        return iter(self._settings)

    def __len__(self) -> int:
        return len(self._settings)

    def close(self) -> None:
        """Close the connections of all that were opened."""
        with self._lock:
            for origin in self._opened.values():
                origin.close()
            self._opened.clear()


def open_origins(
    settings: Mapping[str, HealthImagingSettings | DicomwebSettings],
    *,
    connections: int = _DEFAULT_CONNECTIONS,
    retries: RetryPolicy | None = None,
) -> Origins:
    """The archives of the settings by id; no client is made before it is needed.

    Args:
        settings: by the archive's id.
        connections: how many to keep to each archive; at least as many as there are threads.
        retries: how reads are tried again, if not by the default.
    """
    return Origins(settings, connections=connections, retries=retries or RetryPolicy())


def open_origin(
    origin_id: str,
    settings: HealthImagingSettings | DicomwebSettings,
    *,
    connections: int,
    retries: RetryPolicy,
) -> HealthImagingOrigin | DicomwebOrigin:
    """One archive, by its settings."""
    reader = HttpReader(
        connections=connections,
        connect_timeout_s=_CONNECT_TIMEOUT_S,
        read_timeout_s=_READ_TIMEOUT_S,
    )
    if isinstance(settings, DicomwebSettings):
        return DicomwebOrigin(DicomwebService(settings.url, reader), retries=retries)
    session = boto3.Session(region_name=settings.region)
    client = session.client(SIGNING_NAME, config=_client_config(connections))
    dicomweb = DicomwebService(
        _dicomweb_url(origin_id, settings),
        reader,
        sign=signer(session.get_credentials, settings.region),
    )
    return HealthImagingOrigin(origin_id, client, dicomweb, retries=retries)


def _client_config(connections: int) -> Config:
    """A client that leaves retries to `RetryPolicy`: two layers of them would multiply."""
    return Config(
        max_pool_connections=connections,
        connect_timeout=_CONNECT_TIMEOUT_S,
        read_timeout=_READ_TIMEOUT_S,
        retries={"total_max_attempts": 1},
        tcp_keepalive=True,
    )


def _dicomweb_url(datastore_id: str, settings: HealthImagingSettings) -> str:
    """The data store's DICOMweb address (developer guide, "Using DICOMweb")."""
    service = (
        settings.dicomweb_url or f"https://dicom-medical-imaging.{settings.region}.amazonaws.com"
    )
    return f"{service}/datastore/{datastore_id}"
