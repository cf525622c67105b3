"""DICOM JSON (PS3.18 F.2) read in part: only the attributes that searches and frames need.

The models below list attributes by tag; everything else in a document is passed over unread, which
for a series of a thousand instances is several times faster than reading it all.
"""

from collections.abc import Iterable
from typing import Annotated, Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from teleprefetch.dicom import is_uid
from teleprefetch.domain.dicom_values import (
    date_of,
    in_order,
    integer_of,
    place_of,
    text_of,
    time_of,
    uid_of,
)
from teleprefetch.errors import CorruptPayloadError
from teleprefetch.model import FrameEntry, PatientKey, SeriesPointer, SeriesRecord, StudyRecord

_MAX_FRAMES: Final = 200_000

AnyObject = TypeVar("AnyObject", bound=BaseModel)


class Element(BaseModel):
    """One attribute's values; an attribute that is missing or empty has none."""

    model_config = ConfigDict(frozen=True)

    values: tuple[Any, ...] | None = Field(default=None, alias="Value")

    @property
    def texts(self) -> tuple[str, ...]:
        """Its values as text without padding; empty values are left out."""
        return tuple(text for text in map(text_of, self.values or ()) if text)

    @property
    def text(self) -> str:
        """Its first value as text; of a person's name (PN), the first group of components."""
        return next(iter(self.texts), "")

    @property
    def integer(self) -> int | None:
        """Its first value as a number; None if there is none, or it is not a whole number."""
        return integer_of(self.text)


_EMPTY: Final = Element()


def _tag(tag: str) -> Any:
    return Field(default=_EMPTY, alias=tag)


class _Object(BaseModel):
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)


class Code(_Object):
    """An item of a code sequence."""

    code_value: Element = _tag("00080100")
    coding_scheme_designator: Element = _tag("00080102")


class _CodeSequence(_Object):
    items: tuple[Code, ...] | None = Field(default=None, alias="Value")


class StudyObject(_Object):
    """A row of a search for studies (PS3.18 10.6.3.3.1)."""

    study_instance_uid: Element = _tag("0020000D")
    study_date: Element = _tag("00080020")
    study_time: Element = _tag("00080030")
    accession_number: Element = _tag("00080050")
    modalities_in_study: Element = _tag("00080061")
    study_description: Element = _tag("00081030")
    procedure_code_sequence: Annotated[_CodeSequence, _tag("00081032")] = _CodeSequence()
    patient_name: Element = _tag("00100010")
    patient_id: Element = _tag("00100020")
    issuer_of_patient_id: Element = _tag("00100021")
    patient_birth_date: Element = _tag("00100030")
    patient_sex: Element = _tag("00100040")

    @property
    def patient(self) -> PatientKey:
        """Whose study it is."""
        return PatientKey(
            patient_id=self.patient_id.text, issuer_of_patient_id=self.issuer_of_patient_id.text
        )

    @property
    def procedure_codes(self) -> tuple[str, ...]:
        """The values of ProcedureCodeSequence (0008,1032)."""
        items = self.procedure_code_sequence.items or ()
        return tuple(code.code_value.text for code in items if code.code_value.text)


class SeriesObject(_Object):
    """A row of a search for series (PS3.18 10.6.3.3.2)."""

    series_instance_uid: Element = _tag("0020000E")
    modality: Element = _tag("00080060")
    series_description: Element = _tag("0008103E")
    body_part_examined: Element = _tag("00180015")
    series_number: Element = _tag("00200011")
    laterality: Element = _tag("00200060")
    number_of_series_related_instances: Element = _tag("00201209")


class InstanceObject(_Object):
    """An instance in a series' metadata (PS3.18 10.4.1.1.2)."""

    sop_instance_uid: Element = _tag("00080018")
    instance_number: Element = _tag("00200013")
    samples_per_pixel: Element = _tag("00280002")
    photometric_interpretation: Element = _tag("00280004")
    number_of_frames: Element = _tag("00280008")
    rows: Element = _tag("00280010")
    columns: Element = _tag("00280011")
    bits_allocated: Element = _tag("00280100")

    @property
    def frame_count(self) -> int | None:
        """How many frames it has: none without rows and columns; None if that cannot be read."""
        if not self.rows.integer or not self.columns.integer:
            return 0
        if not self.number_of_frames.text:
            return 1
        count = self.number_of_frames.integer
        return count if count is not None and count > 0 else None

    @property
    def frame_bytes(self) -> int:
        """The length of one frame when uncompressed (PS3.5 8.1, 8.2); 0 if it cannot be told."""
        photometric = self.photometric_interpretation.text
        # PS3.3 C.7.6.3.1.2: two of four chrominance samples are left out.
        halved = photometric in {"YBR_FULL_422", "YBR_PARTIAL_422"}
        samples = 2 if halved else (self.samples_per_pixel.integer or 1)
        pixels = (self.rows.integer or 0) * (self.columns.integer or 0)
        return max(0, (pixels * samples * (self.bits_allocated.integer or 0) + 7) // 8)


_STUDIES: Final = TypeAdapter(tuple[StudyObject, ...])
_SERIES: Final = TypeAdapter(tuple[SeriesObject, ...])
_INSTANCES: Final = TypeAdapter(tuple[InstanceObject, ...])


def read_studies(document: bytes) -> tuple[StudyObject, ...]:
    """The rows of a search for studies; raises as `read_instances` does."""
    return _read(_STUDIES, document)


def read_series(document: bytes) -> tuple[SeriesObject, ...]:
    """The rows of a search for series; raises as `read_instances` does."""
    return _read(_SERIES, document)


def read_instances(document: bytes) -> tuple[InstanceObject, ...]:
    """The instances of a series' metadata.

    Raises:
        CorruptPayloadError: it is not DICOM JSON; the message names the place.
    """
    return _read(_INSTANCES, document)


def series_record(study_instance_uid: str, row: SeriesObject) -> SeriesRecord:
    """A series as a search tells of it; its version is the number of its instances.

    Raises:
        CorruptPayloadError: SeriesInstanceUID is missing or malformed.
    """
    instances = max(0, row.number_of_series_related_instances.integer or 0)
    return SeriesRecord(
        pointer=SeriesPointer(
            study_instance_uid=study_instance_uid,
            series_instance_uid=uid_of(row.series_instance_uid.text, "SeriesInstanceUID"),
            version_id=instances,
        ),
        modality=row.modality.text,
        body_part_examined=row.body_part_examined.text,
        series_description=row.series_description.text,
        laterality=row.laterality.text,
        series_number=row.series_number.integer,
        number_of_instances=instances,
    )


def study_record(row: StudyObject, series: Iterable[SeriesRecord]) -> StudyRecord:
    """A study as searches tell of it.

    Raises:
        CorruptPayloadError: StudyInstanceUID is missing or malformed.
    """
    series = tuple(series)
    modalities = row.modalities_in_study.texts or {one.modality for one in series if one.modality}
    return StudyRecord(
        study_instance_uid=uid_of(row.study_instance_uid.text, "StudyInstanceUID"),
        patient=row.patient,
        patient_name=row.patient_name.text,
        patient_birth_date=date_of(row.patient_birth_date.text),
        patient_sex=row.patient_sex.text,
        study_date=date_of(row.study_date.text),
        study_time=time_of(row.study_time.text),
        study_description=row.study_description.text,
        accession_number=row.accession_number.text,
        procedure_codes=row.procedure_codes,
        modalities_in_study=tuple(sorted(modalities)),
        number_of_study_related_instances=sum(one.number_of_instances for one in series),
        series=series,
    )


def frames_of(instances: Iterable[InstanceObject]) -> tuple[tuple[FrameEntry, ...], int]:
    """The frames in order of InstanceNumber, and how many instances' frames cannot be had.

    Those are the ones with an unreadable NumberOfFrames, or without a proper UID to ask for.

    Raises:
        CorruptPayloadError: there are more frames than any series has.
    """
    frames: list[FrameEntry] = []
    without_frames = 0
    ordered = sorted(
        instances, key=lambda one: in_order(one.instance_number.text, one.sop_instance_uid.text)
    )
    for instance in ordered:
        count = instance.frame_count
        if count is None or (count and not is_uid(instance.sop_instance_uid.text)):
            without_frames += 1
            continue
        if len(frames) + count > _MAX_FRAMES:
            raise CorruptPayloadError("NumberOfFrames: more than a series may have")
        frames += _frames(instance, count)
    return tuple(frames), without_frames


def _frames(instance: InstanceObject, count: int) -> list[FrameEntry]:
    size_bytes = instance.frame_bytes
    return [
        FrameEntry(
            sop_instance_uid=instance.sop_instance_uid.text,
            frame_number=number,
            size_bytes=size_bytes,
        )
        for number in range(1, count + 1)
    ]


def is_same_patient(asked: PatientKey, found: PatientKey) -> bool:
    """Tell whether an answer is the asked patient's, as far as it says.

    PatientIDs must be equal; issuers (PS3.3 C.7.1.1) only where both are stated.
    """
    issuers = {asked.issuer_of_patient_id.strip(), found.issuer_of_patient_id.strip()} - {""}
    return asked.patient_id.strip() == found.patient_id.strip() and len(issuers) < 2


def _read(adapter: TypeAdapter[tuple[AnyObject, ...]], document: bytes) -> tuple[AnyObject, ...]:
    try:
        return adapter.validate_json(document)
    except ValidationError as error:
        raise CorruptPayloadError(f"DICOM JSON: {place_of(error)}") from None
