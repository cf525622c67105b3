"""The archives of the settings, each opened when it is first asked for."""

from collections.abc import Iterator, Mapping
from threading import Lock
from typing import Final, Protocol

import boto3
from botocore.config import Config

from teleprefetch.adapters.dicomweb import DicomwebOrigin
from teleprefetch.adapters.dicomweb_service import DicomwebService
from teleprefetch.adapters.healthimaging import HealthImagingOrigin
from teleprefetch.adapters.healthimaging_errors import SIGNING_NAME
from teleprefetch.adapters.http_reader import Fetcher, HttpReader
from teleprefetch.adapters.retrying import RetryPolicy
from teleprefetch.adapters.signing import Signer
from teleprefetch.errors import AccessDeniedError
from teleprefetch.ports import Origin
from teleprefetch.settings import DicomwebOrigin as DicomwebSettings
from teleprefetch.settings import HealthImagingOrigin as HealthImagingSettings

_DEFAULT_CONNECTIONS: Final = 32
_CONNECT_TIMEOUT_S: Final = 5.0
_READ_TIMEOUT_S: Final = 15.0


class OpenFetcher(Protocol):
    """Opens what an archive's frames are fetched by."""

    def __call__(
        self, *, connections: int, connect_timeout_s: float, read_timeout_s: float
    ) -> Fetcher:
        """A fetcher that keeps that many connections."""


class Origins(Mapping[str, Origin]):
    """The archives by id; safe to share between threads."""

    def __init__(
        self,
        settings: Mapping[str, HealthImagingSettings | DicomwebSettings],
        *,
        connections: int,
        retries: RetryPolicy,
        open_fetcher: OpenFetcher,
    ) -> None:
        self._settings = settings
        self._connections = connections
        self._open_fetcher = open_fetcher
        self._retries = retries
        self._opened: dict[str, HealthImagingOrigin | DicomwebOrigin] = {}
        self._lock = Lock()

    def __getitem__(self, origin_id: str) -> Origin:
        return self._open(origin_id)

    def make_ready(self, connections: int) -> None:
        """Open each archive, and soon so many connections to each data store of HealthImaging.

        DICOMweb archives are near as a rule, and some serve as many clients as they have threads.
        """
        for origin_id in self._settings:
            origin = self._open(origin_id)
            if isinstance(origin, HealthImagingOrigin):
                origin.make_ready(connections)

    def _open(self, origin_id: str) -> HealthImagingOrigin | DicomwebOrigin:
        settings = self._settings[origin_id]
        with self._lock:
            if origin_id not in self._opened:
                self._opened[origin_id] = open_origin(
                    origin_id,
                    settings,
                    connections=self._connections,
                    retries=self._retries,
                    open_fetcher=self._open_fetcher,
                )
            return self._opened[origin_id]

    def as_reader(self, origin_id: str, bearer: str) -> Origin | None:
        """An archive, asked with a reader's bearer token; None if the node asks in its own name.

        Raises:
            AccessDeniedError: it is asked in readers' names, and there is no token.
        """
        if self._settings[origin_id].misses_as == "node":
            return None
        if not bearer:
            raise AccessDeniedError("bearer token: missing, and the archive is asked with it")
        return self._open(origin_id).in_the_name_of(bearer)

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
    open_fetcher: OpenFetcher = HttpReader,
) -> Origins:
    """The archives of the settings by id; no client is made before it is needed.

    Args:
        settings: by the archive's id.
        connections: how many to keep to each archive; at least as many as there are threads.
        retries: how reads are tried again, if not by the default.
        open_fetcher: opens what frames are fetched by; `transfers.Transfers` where pycurl is.
    """
    return Origins(
        settings,
        connections=connections,
        retries=retries or RetryPolicy(),
        open_fetcher=open_fetcher,
    )


def open_origin(
    origin_id: str,
    settings: HealthImagingSettings | DicomwebSettings,
    *,
    connections: int,
    retries: RetryPolicy,
    open_fetcher: OpenFetcher = HttpReader,
) -> HealthImagingOrigin | DicomwebOrigin:
    """One archive, by its settings."""
    timeouts = {"connect_timeout_s": _CONNECT_TIMEOUT_S, "read_timeout_s": _READ_TIMEOUT_S}
    reader = HttpReader(connections=connections, **timeouts)
    frames = open_fetcher(connections=connections, **timeouts)
    if isinstance(settings, DicomwebSettings):
        service = DicomwebService(settings.url, reader, frames=frames)
        return DicomwebOrigin(service, retries=retries)
    session = boto3.Session(region_name=settings.region)
    client = session.client(SIGNING_NAME, config=_client_config(connections))
    sign = Signer(session.get_credentials, service=SIGNING_NAME, region=settings.region)
    dicomweb = DicomwebService(_dicomweb_url(origin_id, settings), reader, sign=sign, frames=frames)
    return HealthImagingOrigin(
        origin_id, client, dicomweb, frames=frames, sign=sign, retries=retries
    )


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
