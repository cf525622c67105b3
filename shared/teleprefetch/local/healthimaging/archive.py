"""Image sets, their versions and states, and which of them is the primary one of a series.

An image set is about one series. What agrees with what is there is merged into the primary image
set of its series, which gains a version; what conflicts goes to a new image set that is not
primary (developer guide, "Understanding image sets", "Understanding import jobs").
"""

import threading
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, Literal

from teleprefetch.local.healthimaging.ingest import Instance, StoredFrame
from teleprefetch.local.healthimaging.wire import ServiceError

State = Literal["ACTIVE", "LOCKED", "DELETED"]
WorkflowStatus = Literal["CREATED", "UPDATED", "DELETING", "DELETED"]
STUDY_ELEMENTS: Final = ("StudyDate", "AccessionNumber", "PatientID", "StudyInstanceUID", "StudyID")
SERIES_ELEMENTS: Final = ("SeriesInstanceUID", "SeriesNumber")
_ELEMENTS: Final = (*STUDY_ELEMENTS, *SERIES_ELEMENTS)


@dataclass(frozen=True, slots=True)
class Version:
    """What an image set held at one version: its instances by SOP Instance UID."""

    number: int
    created_at: datetime
    workflow_status: WorkflowStatus
    instances: dict[str, Instance]


@dataclass(frozen=True, slots=True)
class ImageSet:
    """An image set as it is now; `versions` are oldest first and never empty."""

    image_set_id: str
    is_primary: bool
    state: State
    workflow_status: WorkflowStatus
    created_at: datetime
    updated_at: datetime
    versions: tuple[Version, ...]
    deleted_at: datetime | None = None

    @property
    def latest(self) -> Version:
        """Its newest version."""
        return self.versions[-1]

    @property
    def representative(self) -> Instance:
        """The instance that speaks for patient, study and series."""
        return next(iter(self.latest.instances.values()))

    def version(self, version_id: str | None) -> Version:
        """The version of that number; None: the newest.

        Raises:
            ServiceError: ResourceNotFoundException or, for what is no number, ValidationException.
        """
        if version_id is None:
            return self.latest
        if not (version_id.isascii() and version_id.isdigit()):
            raise ServiceError("ValidationException", "versionId is not a number")
        for version in self.versions:
            if version.number == int(version_id):
                return version
        raise ServiceError("ResourceNotFoundException", "The image set has no such version")


@dataclass(frozen=True, slots=True)
class Change:
    """What an import did to one image set: the image set after it, and the instances it brought."""

    image_set: ImageSet
    sop_instance_uids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FramePlace:
    """Where a frame belongs and what transfer syntax it is stored in."""

    image_set_id: str
    transfer_syntax_uid: str
    frame: StoredFrame


@dataclass(slots=True)
class _Batch:
    """The instances of one import that go to the same image set."""

    is_primary: bool
    image_set_id: str | None
    instances: dict[str, Instance] = field(default_factory=dict)


class Archive:
    """All image sets of a data store; safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._image_sets: dict[str, ImageSet] = {}
        self._primaries: dict[str, str] = {}
        self._frames: dict[str, FramePlace] = {}

    def commit(self, instances: Iterable[Instance], now: datetime) -> list[Change]:
        """Put the instances of one import where they belong, each image set gaining one version."""
        with self._lock:
            batches: dict[tuple[str, ...], _Batch] = {}
            decided: dict[tuple[str, ...], tuple[str, ...]] = {}
            for instance in instances:
                elements = tuple(instance.tags[name] for name in _ELEMENTS)
                if elements not in decided:
                    decided[elements] = self._batch_for(instance, elements, batches)
                batches[decided[elements]].instances[instance.sop_instance_uid] = instance
            return [self._apply(batch, now) for batch in batches.values()]

    def get(self, image_set_id: str) -> ImageSet:
        """One image set, in whatever state.

        Raises:
            ServiceError: ResourceNotFoundException.
        """
        found = self._image_sets.get(image_set_id)
        if found is None:
            raise ServiceError("ResourceNotFoundException", "The image set does not exist")
        return found

    def readable(self, image_set_id: str) -> ImageSet:
        """One image set that may be read.

        Raises:
            ServiceError: ResourceNotFoundException; ConflictException while it is being deleted.
        """
        found = self.get(image_set_id)
        if found.state == "DELETED":
            raise ServiceError("ResourceNotFoundException", "The image set is deleted")
        if found.state == "LOCKED":
            raise ServiceError("ConflictException", "The image set is being deleted")
        return found

    def active(self) -> list[ImageSet]:
        """Every image set that is neither deleted nor being deleted."""
        with self._lock:
            return [found for found in self._image_sets.values() if found.state == "ACTIVE"]

    def primaries(self, study_instance_uid: str | None = None) -> list[ImageSet]:
        """The primary image sets, of one study or of all."""
        return [
            found
            for found in self.active()
            if found.is_primary
            and study_instance_uid in (None, found.representative.tags["StudyInstanceUID"])
        ]

    def primary(self, series_instance_uid: str) -> ImageSet | None:
        """The primary image set of a series, if there is one."""
        return self._image_sets.get(self._primaries.get(series_instance_uid, ""))

    def frame(self, image_set_id: str, frame_id: str) -> FramePlace:
        """A frame of any version of an image set.

        Raises:
            ServiceError: ResourceNotFoundException, if the image set has no such frame.
        """
        self.readable(image_set_id)
        place = self._frames.get(frame_id)
        if place is None or place.image_set_id != image_set_id:
            raise ServiceError("ResourceNotFoundException", "The image frame does not exist")
        return place

    def begin_delete(self, image_set_id: str, now: datetime) -> ImageSet:
        """Lock an image set: from here on it is not found by searches.

        Raises:
            ServiceError: ResourceNotFoundException; ConflictException if it is locked already.
        """
        with self._lock:
            found = self.readable(image_set_id)
            locked = replace(found, state="LOCKED", workflow_status="DELETING", updated_at=now)
            self._image_sets[image_set_id] = locked
            series = found.representative.tags["SeriesInstanceUID"]
            if self._primaries.get(series) == image_set_id:
                del self._primaries[series]
            return locked

    def finish_delete(self, image_set_id: str, now: datetime) -> ImageSet:
        """Forget the frames of a locked image set."""
        with self._lock:
            found = self.get(image_set_id)
            for version in found.versions:
                for instance in version.instances.values():
                    for frame in instance.frames:
                        self._frames.pop(frame.frame_id, None)
            deleted = replace(
                found, state="DELETED", workflow_status="DELETED", updated_at=now, deleted_at=now
            )
            self._image_sets[image_set_id] = deleted
            return deleted

    def _batch_for(
        self,
        instance: Instance,
        elements: tuple[str, ...],
        batches: dict[tuple[str, ...], _Batch],
    ) -> tuple[str, ...]:
        """The batch an instance joins: that of its series' primary image set, if it agrees."""
        series = instance.tags["SeriesInstanceUID"]
        if _agrees(instance, self._peers(instance, batches)):
            key: tuple[str, ...] = ("primary", series)
            batches.setdefault(key, _Batch(True, self._primaries.get(series)))
        else:
            key = ("conflict", *elements)
            batches[key] = _Batch(False, None)
        return key

    def _peers(self, instance: Instance, batches: dict[tuple[str, ...], _Batch]) -> list[Instance]:
        """What speaks for the primary image sets of the same series or study, stored or coming."""
        stored = [self._image_sets[found].representative for found in self._primaries.values()]
        coming = [
            next(iter(batch.instances.values())) for batch in batches.values() if batch.is_primary
        ]
        return [
            peer
            for peer in (*stored, *coming)
            if peer.tags["SeriesInstanceUID"] == instance.tags["SeriesInstanceUID"]
            or peer.tags["StudyInstanceUID"] == instance.tags["StudyInstanceUID"]
        ]

    def _apply(self, batch: _Batch, now: datetime) -> Change:
        before = self._image_sets.get(batch.image_set_id or "")
        image_set = _created(batch, now) if before is None else _updated(before, batch, now)
        self._image_sets[image_set.image_set_id] = image_set
        if image_set.is_primary:
            series = image_set.representative.tags["SeriesInstanceUID"]
            self._primaries[series] = image_set.image_set_id
        for instance in batch.instances.values():
            for frame in instance.frames:
                self._frames[frame.frame_id] = FramePlace(
                    image_set.image_set_id, instance.stored_transfer_syntax_uid, frame
                )
        return Change(image_set, tuple(batch.instances))


def _agrees(instance: Instance, peers: Sequence[Instance]) -> bool:
    for peer in peers:
        same_series = peer.tags["SeriesInstanceUID"] == instance.tags["SeriesInstanceUID"]
        elements = _ELEMENTS if same_series else STUDY_ELEMENTS
        if any(peer.tags[element] != instance.tags[element] for element in elements):
            return False
    return True


def _created(batch: _Batch, now: datetime) -> ImageSet:
    return ImageSet(
        image_set_id=uuid.uuid4().hex,
        is_primary=batch.is_primary,
        state="ACTIVE",
        workflow_status="CREATED",
        created_at=now,
        updated_at=now,
        versions=(Version(1, now, "CREATED", dict(batch.instances)),),
    )


def _updated(before: ImageSet, batch: _Batch, now: datetime) -> ImageSet:
    merged = {**before.latest.instances, **batch.instances}
    version = Version(before.latest.number + 1, now, "UPDATED", merged)
    return replace(
        before,
        state="ACTIVE",
        workflow_status="UPDATED",
        updated_at=now,
        versions=(*before.versions, version),
    )
