"""An archive that is asked with a reader's bearer token decides for itself, and is the same one."""

import base64
import json
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from teleprefetch.adapters.origins import open_origins
from teleprefetch.adapters.retrying import NO_RETRIES
from teleprefetch.adapters.transfers import Transfers
from teleprefetch.errors import AccessDeniedError, StudyNotFoundError
from teleprefetch.settings import DicomwebOrigin, HealthImagingOrigin
from tests.archive_files import Corpus, real_corpus
from tests.dicomweb_server import run_dicomweb_server
from tests.local.healthimaging_fixtures import DATASTORE, REGION, Bench, Slice, bench

TOKEN = "of-a-reader"
ROLE = "arn:aws:iam::123456789012:role/Reader"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return real_corpus(tmp_path_factory.mktemp("corpus"))


def test_a_dicomweb_archive_is_asked_with_the_readers_token(corpus: Corpus) -> None:
    with run_dicomweb_server(corpus) as archive:
        settings = DicomwebOrigin(kind="dicomweb", url=archive.url, misses_as="reader")
        with closing(open_origins({"archive": settings}, retries=NO_RETRIES)) as origins:
            theirs = origins.as_reader("archive", TOKEN)
            assert theirs is not None
            study = next(iter(corpus.where())).dataset.StudyInstanceUID
            series = origins["archive"].search_for_study(study).series[0].pointer
            open_to_all = theirs.retrieve_series_metadata(series)
            archive.bearer = TOKEN
            assert theirs.search_for_study(study).series
            assert theirs.retrieve_series_metadata(series) == open_to_all
            frame = theirs.retrieve_frame(series, open_to_all.frames[0])
            with pytest.raises(AccessDeniedError):
                origins["archive"].retrieve_series_metadata(series)
            archive.bearer = ""
            assert origins["archive"].retrieve_frame(series, open_to_all.frames[0]) == frame


def test_what_the_archive_does_not_give_a_reader_is_not_found(corpus: Corpus) -> None:
    with run_dicomweb_server(corpus) as archive:
        settings = DicomwebOrigin(kind="dicomweb", url=archive.url, misses_as="reader")
        with closing(open_origins({"archive": settings}, retries=NO_RETRIES)) as origins:
            study = next(iter(corpus.where())).dataset.StudyInstanceUID
            series = origins["archive"].search_for_study(study).series[0].pointer
            metadata = origins["archive"].retrieve_series_metadata(series)
            archive.bearer = "of-somebody-else"
            theirs = origins.as_reader("archive", TOKEN)
            assert theirs is not None
            for ask in (
                lambda: theirs.retrieve_series_metadata(series),
                lambda: theirs.retrieve_frame(series, metadata.frames[0]),
                lambda: theirs.search_for_study(study),
            ):
                with pytest.raises(StudyNotFoundError) as refused:
                    ask()
                assert TOKEN not in str(refused.value)


@pytest.mark.parametrize("bearer", ["", TOKEN])
def test_a_node_asks_in_its_own_name_unless_told_otherwise(bearer: str) -> None:
    settings = DicomwebOrigin(kind="dicomweb", url="http://archive.invalid")
    with closing(open_origins({"archive": settings})) as origins:
        assert origins.as_reader("archive", bearer) is None


def test_who_has_no_token_does_not_ask_in_the_nodes_name_instead() -> None:
    settings = DicomwebOrigin(kind="dicomweb", url="http://archive.invalid", misses_as="reader")
    with closing(open_origins({"archive": settings})) as origins, pytest.raises(AccessDeniedError):
        origins.as_reader("archive", "")


class Authorizer:
    """Lets readers in or not, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.lets_in = True

    def __call__(self, event: dict[str, str]) -> dict[str, Any]:
        self.asked.append((event["operation"], event["bearerToken"]))
        return {"isTokenValid": self.lets_in, "roleArn": ROLE if self.lets_in else ""}


@pytest.fixture(scope="module")
def healthimaging() -> Iterator[tuple[Bench, Authorizer]]:
    authorizer = Authorizer()
    with bench(authorizer=authorizer) as running:
        running.imports({"a.dcm": Slice().p10()})
        yield running, authorizer


def _token() -> str:
    now = int(time.time())
    parts = {"alg": "RS256"}, {"iat": now - 10, "exp": now + 300, "sub": "reader"}
    coded = (
        base64.urlsafe_b64encode(json.dumps(one).encode()).decode().strip("=") for one in parts
    )
    return ".".join((*coded, "signature"))


@pytest.mark.parametrize("open_fetcher", [None, Transfers], ids=["urllib3", "libcurl"])
def test_healthimagings_authorizer_decides_about_metadata_and_frames(
    healthimaging: tuple[Bench, Authorizer], monkeypatch: pytest.MonkeyPatch, open_fetcher: Any
) -> None:
    running, authorizer = healthimaging
    monkeypatch.setenv("AWS_ENDPOINT_URL_MEDICAL_IMAGING", running.ahi.url)
    monkeypatch.setenv("AWS_DISABLE_HOST_PREFIX_INJECTION", "true")
    settings = HealthImagingOrigin(
        kind="healthimaging",
        region=REGION,
        dicomweb_url=running.ahi.dicomweb_url.removesuffix(f"/datastore/{DATASTORE}"),
        misses_as="reader",
    )
    fetcher = {} if open_fetcher is None else {"open_fetcher": open_fetcher}
    with closing(open_origins({DATASTORE: settings}, retries=NO_RETRIES, **fetcher)) as origins:
        own, token = origins[DATASTORE], _token()
        series = own.search_for_study("1.2.3").series[0].pointer
        metadata = own.retrieve_series_metadata(series)
        theirs = origins.as_reader(DATASTORE, token)
        assert theirs is not None
        authorizer.asked.clear()
        assert theirs.retrieve_series_metadata(series) == metadata
        frame = theirs.retrieve_frame(series, metadata.frames[0])
        assert frame == own.retrieve_frame(series, metadata.frames[0])
        assert authorizer.asked == [
            ("GetDICOMSeriesMetadata", token),
            ("GetDICOMInstanceFrames", token),
        ]
        authorizer.lets_in = False
        try:
            with pytest.raises(StudyNotFoundError):
                theirs.retrieve_frame(series, metadata.frames[0])
            with pytest.raises(StudyNotFoundError):
                theirs.retrieve_series_metadata(series)
        finally:
            authorizer.lets_in = True
