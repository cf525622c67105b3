"""Requests of a DICOMweb service: QIDO-RS and WADO-RS (PS3.18 10), with limits on every answer."""

import gzip
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from io import BytesIO
from typing import Final, TypeVar
from urllib.parse import quote, urlencode

from teleprefetch.adapters.http_reader import (
    Fetcher,
    HttpAnswer,
    HttpReader,
    HttpRequest,
    by_status,
)
from teleprefetch.domain.dicom_json import SeriesObject, StudyObject, read_series, read_studies
from teleprefetch.errors import CorruptPayloadError, InvalidPayloadError, StudyNotFoundError

DICOM_JSON: Final = "application/dicom+json"
_FRAME: Final = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
_MAX_SEARCH_BYTES: Final = 32 * 1024 * 1024
_MAX_METADATA_BYTES: Final = 128 * 1024 * 1024
_MAX_FRAME_BYTES: Final = 512 * 1024 * 1024
_PAGE_ROWS: Final = 500
_MAX_PAGES: Final = 20
_NO_CONTENT: Final = 204

# Archives answer with few attributes unless asked: Orthanc leaves out StudyDescription, the issuer
# and the body part (PS3.18 8.3.4.3).
_STUDY_FIELDS: Final = (
    "StudyDescription",
    "ModalitiesInStudy",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "ProcedureCodeSequence",
)
_SERIES_FIELDS: Final = (
    "SeriesDescription",
    "BodyPartExamined",
    "Laterality",
    "NumberOfSeriesRelatedInstances",
)

Headers = Mapping[str, str]
Row = TypeVar("Row")


class DicomwebService:
    """One service below one address; safe to share between threads."""

    def __init__(
        self,
        url: str,
        reader: HttpReader,
        *,
        sign: Callable[[str, Headers], Headers] | None = None,
        frames: Fetcher | None = None,
    ) -> None:
        """Know the service; nothing is requested yet.

        Args:
            url: the address that `/studies` comes after.
            reader: the pool of connections.
            sign: adds what authorises the request of a URL to its headers.
            frames: what frames and metadata are fetched by; the reader, if not given.
        """
        self._url = url.rstrip("/")
        self._reader = reader
        self._frames = reader if frames is None else frames
        self._sign = sign or (lambda _, headers: headers)

    def in_the_name_of(self, bearer: str) -> "DicomwebService":
        """The same service over the same connections, asked with a bearer token (RFC 6750)."""
        authorization = {"Authorization": f"Bearer {bearer}"}
        return DicomwebService(
            self._url,
            self._reader,
            sign=lambda _, headers: {**headers, **authorization},
            frames=self._frames,
        )

    def search_for_studies(self, **matching: str) -> tuple[StudyObject, ...]:
        """The studies that match the keywords, as loosely as the service matches (10.6.1.1).

        Raises:
            InvalidPayloadError: there is no such service at the address.
        """
        try:
            return self._search("/studies", matching, _STUDY_FIELDS, _studies)
        except StudyNotFoundError as error:
            raise InvalidPayloadError("origin url: has no QIDO-RS /studies") from error

    def search_for_series(self, study_instance_uid: str) -> tuple[SeriesObject, ...]:
        """The series of a study."""
        path = f"/studies/{study_instance_uid}/series"
        return self._search(path, {}, _SERIES_FIELDS, _series)

    def retrieve_series_metadata(
        self, study_instance_uid: str, series_instance_uid: str, *, image_set_id: str | None = None
    ) -> bytes:
        """The series' DICOM JSON as it was sent (10.4.1.1.2), unzipped.

        Args:
            study_instance_uid: of the study.
            series_instance_uid: of the series.
            image_set_id: HealthImaging's own parameter, for image sets that are not primary.
        """
        query = f"?imageSetId={image_set_id}" if image_set_id else ""
        path = f"/studies/{study_instance_uid}/series/{series_instance_uid}/metadata{query}"
        return self._json(
            path, over=self._frames, what="series metadata", max_bytes=_MAX_METADATA_BYTES
        ).content

    def retrieve_frame(
        self,
        study_instance_uid: str,
        series_instance_uid: str,
        sop_instance_uid: str,
        frame_number: int,
    ) -> HttpAnswer:
        """The answer that holds one frame as stored (10.4.1.1.6).

        Only `transfer-syntax=*` is asked for: a transcoding crashed Orthanc 1.10 and 1.12.
        """
        path = (
            f"/studies/{study_instance_uid}/series/{series_instance_uid}"
            f"/instances/{sop_instance_uid}/frames/{frame_number}"
        )
        url = self._url + path
        headers = self._sign(url, {"Accept": _FRAME})
        request = HttpRequest(
            url=url, headers=headers, max_bytes=_MAX_FRAME_BYTES, what="frame", is_paced=True
        )
        return self._frames.fetch(request, refusal=by_status)

    def make_ready(self, connections: int) -> None:
        """Open so many connections for metadata and frames aside."""
        self._frames.make_ready(self._url, connections)

    def close(self) -> None:
        """Close the connections."""
        self._reader.close()
        self._frames.close()

    def _search(
        self,
        path: str,
        matching: Mapping[str, str],
        fields: Sequence[str],
        read: Callable[[bytes], Mapping[str, Row]],
    ) -> tuple[Row, ...]:
        """All pages of a search; a service that cannot page repeats itself, which ends it too."""
        rows: dict[str, Row] = {}
        for _ in range(_MAX_PAGES):
            query = [*matching.items(), *(("includefield", field) for field in fields)]
            query += [("limit", str(_PAGE_ROWS)), ("offset", str(len(rows)))]
            url = f"{path}?{urlencode(query, quote_via=quote, safe='')}"
            answer = self._json(url, over=self._reader, what="search", max_bytes=_MAX_SEARCH_BYTES)
            found = read(answer.content) if answer.status != _NO_CONTENT else {}
            known = len(rows)
            rows |= found
            # Warning 299: there is more than the service gives at a time (PS3.18 8.3.4.4).
            is_last = len(found) < _PAGE_ROWS and "warning" not in answer.headers
            if is_last or len(rows) == known:
                return tuple(rows.values())
        raise CorruptPayloadError("search: more rows than any patient has")

    def _json(self, path: str, *, over: Fetcher, what: str, max_bytes: int) -> HttpAnswer:
        url = self._url + path
        headers = self._sign(url, {"Accept": DICOM_JSON, "Accept-Encoding": "gzip"})
        request = HttpRequest(url=url, headers=headers, max_bytes=max_bytes, what=what)
        answer = over.fetch(request, refusal=by_status)
        encoding = answer.headers.get("content-encoding", "identity").lower()
        if encoding == "gzip":
            content = unzipped(answer.content, max_bytes=max_bytes, what=what)
            return replace(answer, content=content)
        if encoding != "identity":
            raise CorruptPayloadError(f"{what}: Content-Encoding was not asked for")
        return answer


def unzipped(content: bytes, *, max_bytes: int, what: str) -> bytes:
    """The content of a gzip file (RFC 1952), up to a limit that a bomb cannot pass.

    Raises:
        CorruptPayloadError: it is not gzip, cut short, or longer than `max_bytes`.
    """
    try:
        with gzip.GzipFile(fileobj=BytesIO(content)) as file:
            document = file.read(max_bytes + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise CorruptPayloadError(f"{what}: not gzip, or cut short") from error
    if len(document) > max_bytes:
        raise CorruptPayloadError(f"{what}: too long when unzipped")
    return document


def _studies(document: bytes) -> dict[str, StudyObject]:
    return {row.study_instance_uid.text: row for row in read_studies(document)}


def _series(document: bytes) -> dict[str, SeriesObject]:
    return {row.series_instance_uid.text: row for row in read_series(document)}
