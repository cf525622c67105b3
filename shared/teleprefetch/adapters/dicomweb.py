"""Any archive that speaks DICOMweb, as an `Origin`: QIDO-RS to search, WADO-RS to read.

An archive may match more loosely than asked (Orthanc passes over keys that it does not know, and
answers with every study it has), so each answer is compared with the question once more.
"""

import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from teleprefetch.adapters.dicomweb_service import DicomwebService
from teleprefetch.adapters.for_reader import ReadersOrigin
from teleprefetch.adapters.http_reader import HttpAnswer
from teleprefetch.adapters.retrying import RetryPolicy
from teleprefetch.dicom import EXPLICIT_VR_LITTLE_ENDIAN, is_uid
from teleprefetch.domain.dicom_json import (
    StudyObject,
    frames_of,
    is_same_patient,
    read_instances,
    series_record,
    study_record,
)
from teleprefetch.domain.dicom_values import uid_of
from teleprefetch.domain.frame_content import check_declared
from teleprefetch.domain.multipart import ContentType, Part, decode
from teleprefetch.errors import CorruptPayloadError, InvalidPayloadError, StudyNotFoundError
from teleprefetch.model import (
    Frame,
    FrameEntry,
    PatientKey,
    SeriesMetadata,
    SeriesPointer,
    StudyRecord,
)
from teleprefetch.ports import Origin

_SEARCHES_AT_ONCE: Final = 8
Row = TypeVar("Row")
_log = logging.getLogger(__name__)


class DicomwebOrigin:
    """An archive below one address; reads are retried, searches are not (the machine does that)."""

    def __init__(self, service: DicomwebService, *, retries: RetryPolicy) -> None:
        self._service = service
        self._retries = retries

    def search_for_study(self, study_instance_uid: str) -> StudyRecord:
        """The study with all its series.

        Raises:
            InvalidPayloadError: it is not a UID; nothing is asked.
            StudyNotFoundError: the archive does not hold it.
        """
        checked_uid(study_instance_uid)
        for row in self._service.search_for_studies(StudyInstanceUID=study_instance_uid):
            if row.study_instance_uid.text == study_instance_uid:
                return self._with_series(row)
        raise StudyNotFoundError("study_instance_uid: not in the archive")

    def search_for_patient(self, patient: PatientKey) -> tuple[StudyRecord, ...]:
        """Every study of the patient, newest first; none for a patient without an id.

        An empty PatientID would match every patient (PS3.4 C.2.2.2.3).
        """
        patient_id = patient.patient_id.strip()
        if not patient_id:
            return ()
        rows = self._service.search_for_studies(PatientID=patient_id)
        studies = _with_proper_uids(rows, lambda one: one.study_instance_uid.text, "studies")
        theirs = [row for row in studies if is_same_patient(patient, row.patient)]
        with ThreadPoolExecutor(_SEARCHES_AT_ONCE) as pool:
            found = pool.map(self._unless_deleted, theirs)
            return newest_first(study for study in found if study is not None)

    def retrieve_series_metadata(self, series: SeriesPointer) -> SeriesMetadata:
        """The series' metadata and its frames.

        Raises:
            StudyNotFoundError: the archive does not hold the series.
        """
        return self._retries.call(lambda: self._series_metadata(series))

    def retrieve_frame(self, series: SeriesPointer, frame: FrameEntry) -> Frame:
        """The frame as stored, in the transfer syntax that the answer states.

        Raises:
            StudyNotFoundError: the archive does not hold the frame.
        """
        return self._retries.call(lambda: self._frame(series, frame))

    def in_the_name_of(self, bearer: str) -> Origin:
        """The same archive, asked with a reader's bearer token."""
        theirs = DicomwebOrigin(self._service.in_the_name_of(bearer), retries=self._retries)
        return ReadersOrigin(theirs, frames=theirs)

    def close(self) -> None:
        """Close the connections."""
        self._service.close()

    def _unless_deleted(self, row: StudyObject) -> StudyRecord | None:
        try:
            return self._with_series(row)
        except StudyNotFoundError:
            return None

    def _with_series(self, row: StudyObject) -> StudyRecord:
        study_instance_uid = row.study_instance_uid.text
        found = self._service.search_for_series(study_instance_uid)
        series = _with_proper_uids(found, lambda one: one.series_instance_uid.text, "series")
        return study_record(row, [series_record(study_instance_uid, one) for one in series])

    def _series_metadata(self, series: SeriesPointer) -> SeriesMetadata:
        document = self._service.retrieve_series_metadata(
            series.study_instance_uid, series.series_instance_uid
        )
        frames, without_frames = frames_of(read_instances(document))
        return SeriesMetadata(
            series=series, dicom_json=document, frames=frames, without_frames=without_frames
        )

    def _frame(self, series: SeriesPointer, frame: FrameEntry) -> Frame:
        answer = self._service.retrieve_frame(
            series.study_instance_uid,
            series.series_instance_uid,
            frame.sop_instance_uid,
            frame.frame_number,
        )
        part, transfer_syntax_uid = _only_part(answer)
        check_declared(
            part.content,
            transfer_syntax_uid=transfer_syntax_uid,
            uncompressed_bytes=frame.size_bytes,
        )
        return Frame(content=part.content, transfer_syntax_uid=transfer_syntax_uid)


def checked_uid(text: str) -> str:
    """A UID that is safe in an address.

    Raises:
        InvalidPayloadError: it is not a UID.
    """
    if not is_uid(text):
        raise InvalidPayloadError("study_instance_uid: not a DICOM UID")
    return text


def newest_first(studies: Iterable[StudyRecord]) -> tuple[StudyRecord, ...]:
    """Studies by date and time, the newest first, those without a date last."""
    return tuple(sorted(studies, key=lambda one: (one.study_date, one.study_time), reverse=True))


def _with_proper_uids(rows: Iterable[Row], uid: Callable[[Row], str], what: str) -> list[Row]:
    """The rows with a proper UID: one old study with a bad one must not hide all the others."""
    rows = list(rows)
    proper = [row for row in rows if is_uid(uid(row))]
    if len(proper) < len(rows):
        _log.warning("search: left out %d %s without a proper UID", len(rows) - len(proper), what)
    return proper


def _only_part(answer: HttpAnswer) -> tuple[Part, str]:
    """The frame, and the transfer syntax that its own header or the answer's states."""
    content_type = ContentType.parse(answer.headers.get("content-type", ""))
    parts = decode(content_type, answer.content, max_parts=1, max_part_bytes=len(answer.content))
    if not parts:
        raise CorruptPayloadError("frame: the answer has no part")
    part = parts[0]
    stated = part.content_type.transfer_syntax_uid or content_type.transfer_syntax_uid
    media_type = part.content_type.media_type or content_type.root_media_type
    if not stated and media_type == "application/octet-stream":
        stated = EXPLICIT_VR_LITTLE_ENDIAN  # PS3.18 8.7.3.5.2: the default
    return part, uid_of(stated, "frame transfer-syntax")
