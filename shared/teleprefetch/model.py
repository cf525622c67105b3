"""The values that travel between archive, plan, node and notice; frozen, strict about fields."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from teleprefetch.dicom import DicomUid
from teleprefetch.errors import InvalidPayloadError

OriginId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
ImageSetId = Annotated[str, StringConstraints(pattern=r"^[0-9a-z]{32}$")]
Name = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Slug = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
Role = Literal["current", "prior"]
Priority = Literal["stat", "high", "routine"]
Instant = AwareDatetime


class Value(BaseModel):
    """A frozen value; unknown fields are errors, and errors never repeat the input."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @classmethod
    def parse(cls, document: Any, *, at: str = "") -> Self:
        """Read a value from a decoded JSON document.

        Args:
            document: what a state, message or file holds.
            at: where it was found, put before the names of fields in the error.

        Raises:
            InvalidPayloadError: a field is missing, unknown or breaks its contract; the message
                names each field, never its content.
        """
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            raise InvalidPayloadError(_fields_of(error, at)) from None

    @classmethod
    def parse_json(cls, text: str | bytes, *, at: str = "") -> Self:
        """Read a value from JSON text; raises as `parse` does."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise InvalidPayloadError(_fields_of(error, at)) from None


AnyValue = TypeVar("AnyValue", bound=Value)


def _fields_of(error: ValidationError, at: str) -> str:
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(
        f"{'.'.join(filter(None, (at, *map(str, problem['loc']))))}: {problem['msg']}"
        for problem in problems[:5]
    )


class SeriesPointer(Value):
    """One series as an origin holds it at one version; HealthImaging calls it an image set.

    A DICOMweb archive has neither image sets nor versions: `image_set_id` is None, and
    `version_id` counts the instances, which is all that such an archive tells of a change.
    """

    study_instance_uid: DicomUid
    series_instance_uid: DicomUid
    image_set_id: ImageSetId | None = None
    version_id: int = Field(default=1, ge=0)


class SeriesRecord(Value):
    """What a search tells of a series; nothing here needed a read of metadata or pixels."""

    pointer: SeriesPointer
    modality: str = ""
    body_part_examined: str = ""
    series_description: str = ""
    laterality: str = ""
    series_number: int | None = None
    number_of_instances: int = Field(default=0, ge=0)
    is_primary: bool = True


class PatientKey(Value):
    """Whose study it is: PatientID means nothing without its issuer (PS3.3 C.7.1.1)."""

    patient_id: str
    issuer_of_patient_id: str = ""


class StudyRecord(Value):
    """What searches tell of a study and its series.

    `study_date` is YYYYMMDD and `study_time` HHMMSS as DICOM has them, or empty.
    `number_of_study_related_instances` is 0 where a search does not tell.
    """

    study_instance_uid: DicomUid
    patient: PatientKey
    patient_name: str = ""
    patient_birth_date: str = ""
    patient_sex: str = ""
    study_date: str = ""
    study_time: str = ""
    study_description: str = ""
    accession_number: str = ""
    procedure_codes: tuple[str, ...] = ()
    modalities_in_study: tuple[str, ...] = ()
    number_of_study_related_instances: int = Field(default=0, ge=0)
    series: tuple[SeriesRecord, ...] = ()


class FrameEntry(Value):
    """One frame of a series, by the origin's metadata.

    `size_bytes` is an estimate of the stored size: HealthImaging's FrameSizeInBytes is not
    documented to be either the stored or the decoded one. `crc32` is that of the decoded pixels
    (IEEE, unsigned), where the origin states it.
    """

    sop_instance_uid: DicomUid
    frame_number: int = Field(ge=1)
    image_frame_id: str | None = None
    size_bytes: int = Field(default=0, ge=0)
    crc32: int | None = None


class SeriesMetadata(Value):
    """A series' metadata: its DICOM JSON (PS3.18 F.2) as the origin sent it, and its frames.

    `frames` are in the order of InstanceNumber, then of frame number. `without_frames` counts
    the instances that have pixels which the origin cannot give by the frame.
    """

    series: SeriesPointer
    dicom_json: bytes
    frames: tuple[FrameEntry, ...]
    without_frames: int = 0


class Frame(Value):
    """The bytes of one frame as stored by the origin, and the transfer syntax they are in."""

    content: bytes
    transfer_syntax_uid: DicomUid


class Term(Value):
    """One reason for a score: what was seen, and how many points it was worth."""

    term: str
    points: float
    reason: str


class RankedPrior(Value):
    """A prior with its rank (1 is the most useful), its score and why."""

    study: StudyRecord
    rank: int = Field(ge=1)
    score: float
    probability: float = Field(ge=0, le=1)
    terms: tuple[Term, ...]


class PlannedSeries(Value):
    """A series to warm; `estimated_bytes` is what the budget was charged."""

    role: Role
    rank: int = Field(ge=0)
    series: SeriesPointer
    estimated_bytes: int = Field(ge=0)


class LeftOut(Value):
    """A prior that is not warmed, and why."""

    study_instance_uid: DicomUid
    reason: str


class PlannedPrior(Value):
    """A prior in the plan: how it ranks and why, by which `rule` most; nothing of the patient."""

    study_instance_uid: DicomUid
    rank: int = Field(ge=1)
    score: float
    reasons: tuple[str, ...]
    taken: bool
    rule: str = ""


class Plan(Value):
    """What to warm for one study, in order; `required`: what its notice waits for, () for all."""

    prefetch_id: Slug
    origin_id: OriginId
    study_instance_uid: DicomUid
    series: tuple[PlannedSeries, ...]
    priors: tuple[PlannedPrior, ...]
    left_out: tuple[LeftOut, ...] = ()
    budget_bytes: int = Field(gt=0)
    required: tuple[DicomUid, ...] = ()
    event_id: Slug | None = None


class StudyWarmth(Value):
    """How much of one study a node has proven to hold."""

    study_instance_uid: DicomUid
    role: Role
    frames_planned: int = Field(ge=0)
    frames_verified: int = Field(ge=0)
    problem: str = ""

    @property
    def is_warm(self) -> bool:
        """True if every planned frame is proven, and the plan is known."""
        return not self.problem and self.frames_verified >= self.frames_planned


ReportState = Literal["warming", "warm", "partial"]


class WarmReport(Value):
    """What one node says of one order, while it works and at its end.

    `frames_warmed` are those the node holds for this order; `frames_verified` of them were read
    back and matched; `frames_fetched` of them came over the wire for it, `bytes_fetched` in all.
    `required_warm`: all that the plan requires, if it names any, is proven.
    """

    prefetch_id: Slug
    node: Slug
    state: ReportState
    frames_planned: int = Field(ge=0)
    frames_warmed: int = Field(ge=0)
    frames_verified: int = Field(ge=0)
    frames_fetched: int = Field(ge=0)
    bytes_warmed: int = Field(ge=0)
    bytes_fetched: int = Field(ge=0)
    studies: tuple[StudyWarmth, ...]
    problems: tuple[str, ...] = ()
    required_warm: bool = False
    reported_at: Instant


class ObjectPointer(Value):
    """An object in S3."""

    bucket: str
    key: str


class AssignedTo(Value):
    """A reader, groups, or both, as their issuer of tokens calls them."""

    issuer: Annotated[str, StringConstraints(pattern=r"^https?://[^\s#?]+$", max_length=256)]
    subject: Name | None = None
    groups: tuple[Name, ...] = ()


class Assigned(Value):
    """Why a node may show what it warms: an assignment; `patient` is a digest of whose it is."""

    assignment_id: Slug
    reading_location: Slug
    assigned_to: AssignedTo | None
    patient: str
    ends_at: Instant


class WarmOrder(Value):
    """Warm this plan by `due_at`, answer the task; `waiter` awaits what it requires."""

    kind: Literal["warm"] = "warm"
    prefetch_id: Slug
    node: Slug
    plan: ObjectPointer
    priority: Priority
    give_up_at: datetime
    due_at: Instant | None = None
    task_token: str
    waiter: str = ""
    reading: Assigned | None = None
    event_id: Slug | None = None


class PurgeOrder(Value):
    """A message to one node: forget an image set below a version; None: it was deleted."""

    kind: Literal["purge"] = "purge"
    node: Slug
    origin_id: OriginId
    image_set_id: ImageSetId
    below_version: int | None = None
