"""Writes the made-up patient's history to disk, as an archive would hold it."""

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from teleprefetch.errors import InvalidPayloadError
from teleprefetch.local.samples.history import (
    CURRENT,
    OF_THE_STRANGER,
    PATIENT,
    PRIORS,
    STRANGER,
)
from teleprefetch.local.samples.instances import Uids, instances
from teleprefetch.local.samples.pictures import Department
from teleprefetch.local.samples.plans import Exam, Person, SeriesPlan


@dataclass(frozen=True, slots=True)
class SampleStudy:
    """A study on disk; the last part of `folder` names it in `EXPECTED_ORDER`."""

    study_instance_uid: str
    folder: Path
    description: str
    study_date: date
    instances: int
    relevance_note: str


@dataclass(frozen=True, slots=True)
class SampleArchive:
    """A patient's current study and priors, and one study of somebody else with the same name."""

    root: Path
    patient_id: str
    issuer: str
    current: SampleStudy
    priors: tuple[SampleStudy, ...]
    stranger: SampleStudy


def write_samples(folder: Path, *, today: date, scale: float = 1.0, seed: int = 1) -> SampleArchive:
    """Write the history below `folder`, one folder a study; the same arguments, the same bytes.

    Args:
        folder: made if missing; must be empty, so that nothing else is taken for a sample.
        today: the day of the current study; the priors count back from it.
        scale: the share of the slices, and of the radiographs' pixels, to make.
        seed: other UIDs, vessels, bowels and noise.

    Raises:
        InvalidPayloadError: `folder` holds something, or `scale` is not within 0 and 4.
    """
    if not 0 < scale <= 4:
        raise InvalidPayloadError("scale: must be above 0 and at most 4")
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise InvalidPayloadError("folder: must be empty")
    writer = _Writer(Department(seed=seed, scale=scale), Uids(seed, today), scale)
    ours, theirs = folder / "patient", folder / "stranger"
    return SampleArchive(
        root=folder,
        patient_id=PATIENT.patient_id,
        issuer=PATIENT.issuer,
        current=writer.write(CURRENT, PATIENT, ours),
        priors=tuple(writer.write(exam, PATIENT, ours) for exam in PRIORS),
        stranger=writer.write(OF_THE_STRANGER, STRANGER, theirs),
    )


@dataclass(frozen=True, slots=True)
class _Writer:
    department: Department
    uids: Uids
    scale: float

    def write(self, exam: Exam, person: Person, parent: Path) -> SampleStudy:
        folder = parent / exam.slug
        when = self.uids.today - timedelta(days=exam.days_ago)
        written = sum(self._write_series(exam, plan, person, folder, when) for plan in exam.series)
        return SampleStudy(
            study_instance_uid=str(self.uids.of(person.patient_id, exam.slug)),
            folder=folder,
            description=exam.description,
            study_date=when,
            instances=written,
            relevance_note=exam.note,
        )

    def _write_series(
        self, exam: Exam, plan: SeriesPlan, person: Person, folder: Path, when: date
    ) -> int:
        target = folder / f"series-{plan.number}"
        target.mkdir(parents=True)
        count = max(2, round(plan.count * self.scale)) if plan.sliced else plan.count
        pictures = plan.make(self.department, count)
        number = 0
        for dataset in instances(exam, plan, person, uids=self.uids, when=when, pictures=pictures):
            number += 1
            dataset.save_as(target / f"{number:04d}.dcm", enforce_file_format=True)
        return number
