from collections.abc import Callable
from contextlib import closing

import pytest

from teleprefetch.adapters.dicomweb import DicomwebOrigin
from teleprefetch.adapters.healthimaging import HealthImagingOrigin
from teleprefetch.adapters.origins import open_origins
from teleprefetch.adapters.retrying import NO_RETRIES
from teleprefetch.errors import OriginThrottledError
from teleprefetch.ports import Origin
from teleprefetch.settings import DicomwebOrigin as DicomwebSettings
from teleprefetch.settings import HealthImagingOrigin as HealthImagingSettings
from tests.faulty_server import http, run_faulty_server
from tests.origin_builders import a_frame_entry, a_pointer, a_uid

DATASTORE = "d" * 32
ARCHIVE = DicomwebSettings(kind="dicomweb", url="http://archive.invalid/dicom-web")
STORE = HealthImagingSettings(kind="healthimaging", region="eu-west-1")


@pytest.fixture(autouse=True)
def credentials(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


def test_each_archive_is_opened_by_its_kind_and_only_once():
    with closing(open_origins({"archive": ARCHIVE, DATASTORE: STORE})) as origins:
        assert isinstance(origins["archive"], DicomwebOrigin)
        assert isinstance(origins[DATASTORE], HealthImagingOrigin)
        assert origins[DATASTORE] is origins[DATASTORE]


def test_an_archive_that_is_not_in_the_settings_is_missing():
    with closing(open_origins({"archive": ARCHIVE})) as origins:
        assert origins.get("other") is None
        assert ("archive" in origins, "other" in origins) == (True, False)
        assert (list(origins), len(origins)) == (["archive"], 1)


def test_no_client_is_made_before_it_is_needed(monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "there-is-no-such-profile")
    with closing(open_origins({"archive": ARCHIVE, DATASTORE: STORE})) as origins:
        assert isinstance(origins["archive"], DicomwebOrigin)


@pytest.mark.parametrize("kind", ["dicomweb", "healthimaging"])
def test_the_clients_themselves_do_not_retry(kind, monkeypatch):
    with run_faulty_server(http("429 Too Many Requests")) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_MEDICAL_IMAGING", server.url)
        monkeypatch.setenv("AWS_DISABLE_HOST_PREFIX_INJECTION", "true")
        settings = (
            DicomwebSettings(kind="dicomweb", url=server.url)
            if kind == "dicomweb"
            else HealthImagingSettings(kind="healthimaging", dicomweb_url=server.url)
        )
        with closing(open_origins({DATASTORE: settings}, retries=NO_RETRIES)) as origins:
            reads: tuple[Callable[[Origin], object], ...] = (
                lambda origin: origin.search_for_study(a_uid(1)),
                lambda origin: origin.retrieve_frame(a_pointer(), a_frame_entry()),
            )
            for read in reads:
                with pytest.raises(OriginThrottledError):
                    read(origins[DATASTORE])
        assert len(server.requests) == 2
