"""A HealthImaging data store as an `Origin`.

Image sets are found by SearchImageSets and read by the native API, which allows twenty times as
many frames a second as the store's DICOMweb (HealthImaging developer guide, "Endpoints and
quotas"). Metadata and frames are asked for without boto3, whose call costs more than a frame, and
over the same connections: a new one is worth several round trips. Two things only DICOMweb has, and
are asked of it: a study's issuer of the PatientID and its procedure codes, in one QIDO-RS search,
and a series' metadata as DICOM JSON. SearchImageSets tells neither series descriptions nor how many
instances a series has: those fields stay empty.
"""

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit, urlunsplit

from teleprefetch.adapters.dicomweb import DicomwebOrigin, checked_uid, newest_first
from teleprefetch.adapters.dicomweb_service import DicomwebService, unzipped
from teleprefetch.adapters.for_reader import ReadersOrigin
from teleprefetch.adapters.healthimaging_errors import by_code, translated
from teleprefetch.adapters.http_reader import Fetcher, HttpRequest
from teleprefetch.adapters.retrying import RetryPolicy
from teleprefetch.adapters.signing import Signer
from teleprefetch.domain.dicom_json import is_same_patient
from teleprefetch.domain.frame_content import transfer_syntax_of_image_frame
from teleprefetch.domain.image_set_metadata import SeriesFrames, read_image_set_metadata
from teleprefetch.domain.image_set_search import ImageSetRow, read_rows, studies_of
from teleprefetch.errors import InvalidPayloadError, StudyNotFoundError
from teleprefetch.model import (
    Frame,
    FrameEntry,
    PatientKey,
    SeriesMetadata,
    SeriesPointer,
    StudyRecord,
)
from teleprefetch.ports import Origin

if TYPE_CHECKING:
    from mypy_boto3_medical_imaging.client import HealthImagingClient
    from mypy_boto3_medical_imaging.type_defs import SearchByAttributeValueTypeDef

_ROWS_AT_A_TIME: Final = 50  # SearchImageSets' maximum
_MAX_FRAME_BYTES: Final = 512 * 1024 * 1024
# "Endpoints and quotas": a metadata document has at most 50 MB, which can be raised.
_MAX_ZIPPED_BYTES: Final = 64 * 1024 * 1024
_MAX_METADATA_BYTES: Final = 256 * 1024 * 1024
_FOR_METADATA: Final = 4
_GET_IMAGE_FRAME: Final = "GetImageFrame"
_GET_METADATA: Final = "GetImageSetMetadata"
_JSON: Final = {"Content-Type": "application/json"}

_log = logging.getLogger(__name__)


class HealthImagingOrigin:
    """One data store; reads are retried, searches are not (the machine does that)."""

    def __init__(
        self,
        datastore_id: str,
        client: "HealthImagingClient",
        dicomweb: DicomwebService,
        *,
        frames: Fetcher,
        sign: Signer,
        retries: RetryPolicy,
    ) -> None:
        """Know the data store; nothing is requested yet.

        Args:
            datastore_id: the data store.
            client: one that does not retry by itself; where it asks, the rest is asked for too.
            dicomweb: the data store's DICOMweb service, which signs its requests.
            frames: what frames and metadata are fetched by.
            sign: signs those requests.
            retries: how reads are tried again.
        """
        self._datastore_id = datastore_id
        self._client = client
        self._dicomweb = dicomweb
        self._fetcher = frames
        self._sign = sign
        self._native_url = _native_url(client)
        self._retries = retries

    def search_for_study(self, study_instance_uid: str) -> StudyRecord:
        """The study with all its series.

        Raises:
            InvalidPayloadError: it is not a UID; nothing is asked.
            StudyNotFoundError: the data store does not hold it.
        """
        checked_uid(study_instance_uid)
        rows = [
            row
            for row in self._search({"DICOMStudyInstanceUID": study_instance_uid})
            if row.tags.study_instance_uid == study_instance_uid
        ]
        if not rows:
            raise StudyNotFoundError("study_instance_uid: not in the data store")
        objects = self._dicomweb.search_for_studies(StudyInstanceUID=study_instance_uid)
        return studies_of(rows, objects)[0]

    def search_for_patient(self, patient: PatientKey) -> tuple[StudyRecord, ...]:
        """Every study of the patient, newest first; none for a patient without an id."""
        patient_id = patient.patient_id.strip()
        if not patient_id:
            return ()
        rows = self._search({"DICOMPatientId": patient_id})
        if not rows:
            return ()
        studies = studies_of(rows, self._dicomweb.search_for_studies(PatientID=patient_id))
        return newest_first(one for one in studies if is_same_patient(patient, one.patient))

    def retrieve_series_metadata(self, series: SeriesPointer) -> SeriesMetadata:
        """The series' metadata and its frames, which are of the pointer's version.

        DICOMweb knows no versions: `dicom_json` is of the latest one. Both are asked for at once:
        one after the other takes twice as long where round trips are what takes time.

        Raises:
            InvalidPayloadError: the pointer names no image set.
            StudyNotFoundError: the data store does not hold the image set, or the series in it.
        """
        image_set_id = _image_set_of(series)
        with ThreadPoolExecutor(1, thread_name_prefix="dicom-json") as beside:
            dicom_json = beside.submit(
                self._retries.call, lambda: self._dicom_json(series, image_set_id)
            )
            read = self._retries.call(lambda: self._frames(series, image_set_id))
        return SeriesMetadata(
            series=series,
            dicom_json=dicom_json.result(),
            frames=read.frames,
            without_frames=read.without_frames,
        )

    def retrieve_frame(self, series: SeriesPointer, frame: FrameEntry) -> Frame:
        """The frame as stored, in the transfer syntax that its content type and bytes tell.

        Raises:
            InvalidPayloadError: the pointer names no image set, or the entry no image frame.
            StudyNotFoundError: the data store does not hold the frame, or not by itself.
        """
        image_set_id = _image_set_of(series)
        if frame.image_frame_id is None:
            raise InvalidPayloadError("image_frame_id: missing")
        image_frame_id = frame.image_frame_id
        return self._retries.call(lambda: self._frame(image_set_id, image_frame_id))

    def in_the_name_of(self, bearer: str) -> Origin:
        """The same data store, asked with a reader's bearer token where it takes one.

        Only its DICOMweb service does (developer guide, "OIDC authentication for DICOMweb APIs"):
        frames and DICOM JSON come from there, what tells the frames' checksums as ever.
        """
        dicomweb = self._dicomweb.in_the_name_of(bearer)
        theirs = HealthImagingOrigin(
            self._datastore_id,
            self._client,
            dicomweb,
            frames=self._fetcher,
            sign=self._sign,
            retries=self._retries,
        )
        return ReadersOrigin(theirs, frames=DicomwebOrigin(dicomweb, retries=self._retries))

    def make_ready(self, connections: int) -> None:
        """Open connections aside: so many for frames, and a few for metadata."""
        self._fetcher.make_ready(self._native_url, connections)
        self._dicomweb.make_ready(min(connections, _FOR_METADATA))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
        self._dicomweb.close()
        self._fetcher.close()

    def _search(self, value: "SearchByAttributeValueTypeDef") -> list[ImageSetRow]:
        pages = self._client.get_paginator("search_image_sets").paginate(
            datastoreId=self._datastore_id,
            searchCriteria={"filters": [{"operator": "EQUAL", "values": [value]}]},
            PaginationConfig={"PageSize": _ROWS_AT_A_TIME},
        )
        with translated("SearchImageSets"):
            rows = [row for page in pages for row in read_rows(page)]
        proper = [row for row in rows if row.has_proper_uids]
        if len(proper) < len(rows):
            _log.warning(
                "search: left out %d image sets without proper UIDs", len(rows) - len(proper)
            )
        return proper

    def _dicom_json(self, series: SeriesPointer, image_set_id: str) -> bytes:
        return self._dicomweb.retrieve_series_metadata(
            series.study_instance_uid, series.series_instance_uid, image_set_id=image_set_id
        )

    def _frames(self, series: SeriesPointer, image_set_id: str) -> SeriesFrames:
        url = (
            f"{self._native_url}/datastore/{self._datastore_id}"
            f"/imageSet/{image_set_id}/getImageSetMetadata?version={series.version_id}"
        )
        request = HttpRequest(
            url=url,
            headers=self._sign(url, {}, method="POST"),
            body=b"",
            what=_GET_METADATA,
            max_bytes=_MAX_ZIPPED_BYTES,
        )
        zipped = self._fetcher.fetch(request, refusal=by_code).content
        document = unzipped(zipped, max_bytes=_MAX_METADATA_BYTES, what="image set metadata")
        read = read_image_set_metadata(document)
        if read.study_instance_uid != series.study_instance_uid:
            raise StudyNotFoundError("study_instance_uid: not that of the image set")
        try:
            return read.series[series.series_instance_uid]
        except KeyError:
            raise StudyNotFoundError("series_instance_uid: not in the image set") from None

    def _frame(self, image_set_id: str, image_frame_id: str) -> Frame:
        url = (
            f"{self._native_url}/datastore/{self._datastore_id}"
            f"/imageSet/{image_set_id}/getImageFrame"
        )
        body = b'{"imageFrameId":"%b"}' % image_frame_id.encode()
        request = HttpRequest(
            url=url,
            headers=self._sign(url, _JSON, method="POST", body=body),
            body=body,
            what=_GET_IMAGE_FRAME,
            max_bytes=_MAX_FRAME_BYTES,
            is_paced=True,
        )
        answer = self._fetcher.fetch(request, refusal=by_code)
        # The service leaves the content type out where the stored syntax is its own (.202).
        content_type = answer.headers.get("content-type") or "image/jph"
        return Frame(
            content=answer.content,
            transfer_syntax_uid=transfer_syntax_of_image_frame(answer.content, content_type),
        )


def _native_url(client: "HealthImagingClient") -> str:
    """Where the client sends GetImageFrame: with the host's prefix, unless that is switched off."""
    parts = urlsplit(client.meta.endpoint_url)
    endpoint: Any = client.meta.service_model.operation_model(_GET_IMAGE_FRAME).endpoint
    prefix = endpoint["hostPrefix"] if client.meta.config.inject_host_prefix else ""
    return urlunsplit(parts._replace(netloc=prefix + parts.netloc)).rstrip("/")


def _image_set_of(series: SeriesPointer) -> str:
    if series.image_set_id is None:
        raise InvalidPayloadError("image_set_id: missing")
    return series.image_set_id
