"""An archive in memory, for tests of what uses an `Origin`."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from threading import Lock

from teleprefetch.dicom import is_uid
from teleprefetch.domain.dicom_json import is_same_patient
from teleprefetch.errors import InvalidPayloadError, PrefetchError, StudyNotFoundError
from teleprefetch.model import (
    Frame,
    FrameEntry,
    PatientKey,
    SeriesMetadata,
    SeriesPointer,
    StudyRecord,
)
from tests.origin_builders import a_frame, a_series_metadata

SEARCH_STUDY = "search_for_study"
SEARCH_PATIENT = "search_for_patient"
METADATA = "retrieve_series_metadata"
FRAME = "retrieve_frame"


class FakeOrigin:
    """Holds what it is given; safe to share between threads.

    `calls` counts the calls of each method and `frames_fetched` those of each frame. `fail` makes
    the next calls of a method fail; `on_frame`, if set, runs in each fetch of a frame before it is
    answered, so that a test can hold it up or end it with an error.
    """

    def __init__(self, studies: Iterable[StudyRecord] = ()) -> None:
        self.calls: dict[str, int] = defaultdict(int)
        self.frames_fetched: dict[tuple[str, int], int] = defaultdict(int)
        self.on_frame: Callable[[SeriesPointer, FrameEntry], None] = lambda series, frame: None
        self._studies: dict[str, StudyRecord] = {}
        self._metadata: dict[SeriesPointer, SeriesMetadata] = {}
        self._frames: dict[tuple[str, int], Frame] = {}
        self._failures: dict[str, list[PrefetchError]] = defaultdict(list)
        self._lock = Lock()
        for study in studies:
            self.hold(study)

    def hold(self, study: StudyRecord) -> None:
        """Hold a study; each of its series gets metadata, and each frame bytes."""
        self._studies[study.study_instance_uid] = study
        for series in study.series:
            if series.pointer not in self._metadata:
                instances = series.number_of_instances
                self.hold_series(a_series_metadata(series.pointer, instances=instances))

    def hold_series(
        self, metadata: SeriesMetadata, frames: Callable[[FrameEntry], Frame] = a_frame
    ) -> None:
        """Hold a series' metadata, and the bytes that `frames` gives for each of its frames."""
        self._metadata[metadata.series] = metadata
        for entry in metadata.frames:
            self._frames[_key(entry)] = frames(entry)

    def forget(self, study_instance_uid: str) -> None:
        """Hold a study no longer."""
        for series in self._studies.pop(study_instance_uid).series:
            for entry in self._metadata.pop(series.pointer).frames:
                del self._frames[_key(entry)]

    def replace_frame(self, entry: FrameEntry, frame: Frame) -> None:
        """Answer with other bytes from now on."""
        self._frames[_key(entry)] = frame

    def fail(self, method: str, error: PrefetchError, *, times: int = 1) -> None:
        """Let the next `times` calls of a method end with `error`."""
        with self._lock:
            self._failures[method] += [error] * times

    def search_for_study(self, study_instance_uid: str) -> StudyRecord:
        self._enter(SEARCH_STUDY)
        if not is_uid(study_instance_uid):
            raise InvalidPayloadError("study_instance_uid: not a DICOM UID")
        try:
            return self._studies[study_instance_uid]
        except KeyError:
            raise StudyNotFoundError("study_instance_uid: not in the archive") from None

    def search_for_patient(self, patient: PatientKey) -> tuple[StudyRecord, ...]:
        self._enter(SEARCH_PATIENT)
        if not patient.patient_id.strip():
            return ()
        found = [one for one in self._studies.values() if is_same_patient(patient, one.patient)]
        return tuple(sorted(found, key=lambda one: (one.study_date, one.study_time), reverse=True))

    def retrieve_series_metadata(self, series: SeriesPointer) -> SeriesMetadata:
        self._enter(METADATA)
        try:
            return self._metadata[series]
        except KeyError:
            raise StudyNotFoundError("series_instance_uid: not in the archive") from None

    def retrieve_frame(self, series: SeriesPointer, frame: FrameEntry) -> Frame:
        self._enter(FRAME)
        with self._lock:
            self.frames_fetched[_key(frame)] += 1
        self.on_frame(series, frame)
        try:
            return self._frames[_key(frame)]
        except KeyError:
            raise StudyNotFoundError("frame: not in the archive") from None

    def _enter(self, method: str) -> None:
        with self._lock:
            self.calls[method] += 1
            if self._failures[method]:
                raise self._failures[method].pop(0)


def _key(entry: FrameEntry) -> tuple[str, int]:
    return entry.sop_instance_uid, entry.frame_number
