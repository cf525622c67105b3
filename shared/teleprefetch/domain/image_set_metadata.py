"""HealthImaging's own metadata of an image set, read in part: who it is and where its frames are.

The document's form is that of the HealthImaging developer guide, "Understanding image sets" and
"Getting image set metadata". Numbers may be text with padding ("1 "), and absent values null.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from teleprefetch.dicom import DicomUid, is_uid
from teleprefetch.domain.dicom_values import in_order, integer_of, text_of
from teleprefetch.errors import CorruptPayloadError
from teleprefetch.model import FrameEntry, ImageSetId, PatientKey

# MPEG and H.264/H.265 (PS3.6 A-1): GetImageFrame answers with the whole video, not with a frame.
_VIDEO_PREFIXES: Final = tuple(f"1.2.840.10008.1.2.4.10{digit}" for digit in range(9))


@dataclass(frozen=True, slots=True)
class SeriesFrames:
    """One series' frames in order, and how many instances with pixels cannot be had by frame."""

    frames: tuple[FrameEntry, ...]
    without_frames: int


@dataclass(frozen=True, slots=True)
class ImageSetMetadata:
    """What a metadata document tells: the study, the patient and each series' frames by UID.

    An image set is one series, as a rule.
    """

    study_instance_uid: str
    patient: PatientKey
    series: Mapping[str, SeriesFrames]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)


class _Checksum(_Part):
    crc32: int | None = Field(default=None, alias="Checksum", ge=0, lt=2**32)


class _ImageFrame(_Part):
    image_frame_id: ImageSetId = Field(alias="ID")
    size_bytes: int | None = Field(default=None, alias="FrameSizeInBytes", ge=0)
    checksums: tuple[_Checksum, ...] | None = Field(
        default=None, alias="PixelDataChecksumFromBaseToFullResolution"
    )


class _InstanceTags(_Part):
    instance_number: Any = Field(default=None, alias="InstanceNumber")
    rows: Any = Field(default=None, alias="Rows")


class _Instance(_Part):
    tags: _InstanceTags = Field(default=_InstanceTags(), alias="DICOM")
    stored_transfer_syntax_uid: str | None = Field(default=None, alias="StoredTransferSyntaxUID")
    checksum_type: str | None = Field(default=None, alias="ChecksumType")
    image_frames: tuple[_ImageFrame, ...] | None = Field(default=None, alias="ImageFrames")


class _Series(_Part):
    instances: dict[str, _Instance] = Field(alias="Instances")


class _StudyTags(_Part):
    study_instance_uid: DicomUid = Field(alias="StudyInstanceUID")


class _Study(_Part):
    tags: _StudyTags = Field(alias="DICOM")
    series: dict[str, _Series] = Field(alias="Series")


class _PatientTags(_Part):
    patient_id: Any = Field(default=None, alias="PatientID")
    issuer_of_patient_id: Any = Field(default=None, alias="IssuerOfPatientID")


class _Patient(_Part):
    tags: _PatientTags = Field(default=_PatientTags(), alias="DICOM")


class _Document(_Part):
    patient: _Patient = Field(alias="Patient")
    study: _Study = Field(alias="Study")


def read_image_set_metadata(document: bytes) -> ImageSetMetadata:
    """What a metadata document, already unzipped, tells.

    Raises:
        CorruptPayloadError: a field is missing or malformed; the message names it.
    """
    try:
        read = _Document.model_validate_json(document)
    except ValidationError as error:
        raise CorruptPayloadError(f"image set metadata: {_place_of(error)}") from None
    patient = read.patient.tags
    return ImageSetMetadata(
        study_instance_uid=read.study.tags.study_instance_uid,
        patient=PatientKey(
            patient_id=text_of(patient.patient_id),
            issuer_of_patient_id=text_of(patient.issuer_of_patient_id),
        ),
        series={uid: _series_frames(series) for uid, series in read.study.series.items()},
    )


def _series_frames(series: _Series) -> SeriesFrames:
    frames: list[FrameEntry] = []
    without_frames = 0
    ordered = sorted(
        series.instances.items(), key=lambda item: in_order(item[1].tags.instance_number, item[0])
    )
    for sop_instance_uid, instance in ordered:
        entries = _frames(sop_instance_uid, instance)
        frames += entries
        without_frames += not entries and bool(integer_of(instance.tags.rows))
    return SeriesFrames(tuple(frames), without_frames)


def _frames(sop_instance_uid: str, instance: _Instance) -> list[FrameEntry]:
    is_video = (instance.stored_transfer_syntax_uid or "").startswith(_VIDEO_PREFIXES)
    if is_video or not is_uid(sop_instance_uid):
        return []
    return [
        FrameEntry(
            sop_instance_uid=sop_instance_uid,
            frame_number=number,
            image_frame_id=frame.image_frame_id,
            size_bytes=frame.size_bytes or 0,
            crc32=_crc32(frame, instance.checksum_type),
        )
        for number, frame in enumerate(instance.image_frames or (), start=1)
    ]


def _crc32(frame: _ImageFrame, checksum_type: str | None) -> int | None:
    """The checksum of the full resolution, the last one; only of decoded pixels."""
    if checksum_type not in {None, "DECOMPRESSED"} or not frame.checksums:
        return None
    return frame.checksums[-1].crc32


def _place_of(error: ValidationError) -> str:
    """Where the first error is, and of what kind; the keys that are UIDs are left out."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    steps = [str(step) for step in first["loc"]]
    named = [
        "*" if before in {"Series", "Instances"} else step
        for before, step in zip(["", *steps], steps, strict=False)
    ]
    return f"{'.'.join(named) or 'document'}: {first['type']}"
