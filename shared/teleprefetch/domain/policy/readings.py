"""Readings: which study was assigned to whom at which location, and what came with it."""

from collections.abc import Iterable

from teleprefetch.dicom import DicomUid
from teleprefetch.domain.policy.access import StudyAccess, qualified
from teleprefetch.model import AssignedTo, Instant, OriginId, Slug, Value


class Reading(Value):
    """One assignment as a node keeps it; until `ends_at` it gives access.

    `assigned_to` None gives access to nobody: the worklist did not say whose it is. `patient` is
    a digest, `prefetch_id` the order that came for it.
    """

    assignment_id: Slug
    prefetch_id: Slug
    origin_id: OriginId
    reading_location: Slug
    study_instance_uid: DicomUid
    priors: tuple[DicomUid, ...] = ()
    assigned_to: AssignedTo | None = None
    patient: str = ""
    ends_at: Instant

    @property
    def studies(self) -> tuple[str, ...]:
        """The study and its priors."""
        return tuple(dict.fromkeys((self.study_instance_uid, *self.priors)))


def access_of(
    study_instance_uid: str, readings: Iterable[Reading], *, locations: Iterable[str]
) -> tuple[StudyAccess, ...]:
    """The study as each location knows it that has it to read; else, as the node's own do.

    Readings are kept apart by location and origin: who reads at one has nothing from another's
    assignment.

    Args:
        study_instance_uid: the study.
        readings: those that name it.
        locations: which the node stands beside.
    """
    by_place: dict[tuple[str, str], list[Reading]] = {}
    for reading in readings:
        by_place.setdefault((reading.reading_location, reading.origin_id), []).append(reading)
    if not by_place:
        return tuple(
            StudyAccess(study_instance_uid=study_instance_uid, location=each) for each in locations
        )
    return tuple(
        _access(study_instance_uid, place, found) for place, found in sorted(by_place.items())
    )


def _access(study: str, place: tuple[str, str], readings: list[Reading]) -> StudyAccess:
    current = [reading for reading in readings if reading.study_instance_uid == study]
    as_prior = [reading for reading in readings if study in reading.priors]
    return StudyAccess(
        study_instance_uid=study,
        location=place[0],
        origin_id=place[1],
        patient=next((reading.patient for reading in readings if reading.patient), ""),
        assigned_to=_subjects(current),
        assigned_to_groups=_groups(current),
        prior_for=_subjects(as_prior),
        prior_for_groups=_groups(as_prior),
    )


def _subjects(readings: Iterable[Reading]) -> frozenset[str]:
    named = (reading.assigned_to for reading in readings)
    return frozenset(qualified(to.issuer, to.subject) for to in named if to and to.subject)


def _groups(readings: Iterable[Reading]) -> frozenset[str]:
    named = (reading.assigned_to for reading in readings)
    return frozenset(qualified(to.issuer, group) for to in named if to for group in to.groups)
