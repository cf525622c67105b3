"""Counts what one order has planned, holds and has proven; a report is made from it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from teleprefetch.domain.lateness import Left
from teleprefetch.domain.warmth import NOT_IN_THE_ARCHIVE
from teleprefetch.edge.store.rows import FrameName, frame_name
from teleprefetch.errors import (
    AccessDeniedError,
    CorruptPayloadError,
    OriginThrottledError,
    OriginUnavailableError,
    PrefetchError,
    StudyNotFoundError,
)
from teleprefetch.model import (
    FrameEntry,
    Plan,
    PlannedSeries,
    ReportState,
    SeriesMetadata,
    StudyWarmth,
    WarmReport,
)

# Fixed words: an error's own text may come from an archive.
_WORDS: Final[dict[type[PrefetchError], str]] = {
    AccessDeniedError: "the archive refuses access",
    CorruptPayloadError: "what the archive sends is damaged",
    OriginThrottledError: "the archive asks to slow down",
    OriginUnavailableError: "the archive does not answer",
    StudyNotFoundError: NOT_IN_THE_ARCHIVE,
}
ORIGIN_ERRORS: Final = tuple(_WORDS)
OUT_OF_TIME: Final = "time ran out"
PUT_OFF: Final = "put off as the least useful, and then time ran out"
YIELDED: Final = "left to a reader's own requests: its notice is out, and other orders wait"
NOT_READ: Final = "its metadata are not read yet"
_MOST_PROBLEMS: Final = 50
_FRAME_BYTES: Final = 200_000


def words_of(error: PrefetchError) -> str:
    """What an origin's error is called in a report."""
    return _WORDS[type(error)]


@dataclass(slots=True)
class SeriesTally:
    """One series of an order; `stored` are the frames it holds, with their sizes in bytes.

    `metadata_reads`, `fetched_frames` and `fetched_bytes` are what the archive was asked for.
    """

    planned: PlannedSeries
    entries: tuple[FrameEntry, ...] = ()
    stored: dict[FrameName, int] = field(default_factory=dict)
    verified: set[FrameName] = field(default_factory=set)
    failures: int = 0
    left_out: bool = False
    is_known: bool = False
    typical_bytes: int = 0
    problem: str = ""
    metadata_reads: int = 0
    fetched_frames: int = 0
    fetched_bytes: int = 0

    @property
    def unproven(self) -> set[FrameName]:
        """What is held and was not read back yet."""
        return self.stored.keys() - self.verified

    @property
    def with_checksum(self) -> set[FrameName]:
        """The frames of whose pixels the origin states a checksum."""
        return {frame_name(entry) for entry in self.entries if entry.crc32 is not None}

    @property
    def is_complete(self) -> bool:
        """True if its frames are known, and all of them proven."""
        return self.is_known and not self.problem and len(self.verified) >= len(self.entries)

    def know(self, metadata: SeriesMetadata) -> None:
        """Take the frames that its metadata names, each once."""
        self.is_known = True
        self.entries = tuple({frame_name(entry): entry for entry in metadata.frames}.values())
        said_bytes = sum(entry.size_bytes for entry in self.entries)
        self.typical_bytes = said_bytes // len(self.entries) if said_bytes else _FRAME_BYTES
        if metadata.without_frames:
            self.problem = f"{metadata.without_frames} instances cannot be fetched by the frame"

    @property
    def left_bytes(self) -> int:
        """About how much of it is still to come; as planned, before its metadata are read."""
        if self.left_out:
            return 0
        if not self.is_known:
            return 0 if self.problem else self.planned.estimated_bytes
        return (len(self.entries) - len(self.stored)) * self.typical_bytes

    def prove(self, sizes_bytes: dict[FrameName, int]) -> None:
        """Count frames that were read back."""
        self.stored.update(sizes_bytes)
        self.verified.update(sizes_bytes)

    def lose(self, names: set[FrameName]) -> None:
        """Take back frames that could not be read back after all."""
        for name in names:
            self.stored.pop(name, None)
        self.verified -= names
        if names:
            self.problem = "what was written cannot be read back"


class OrderTally:
    """All series of an order in the plan's order, and what went wrong."""

    def __init__(self, plan: Plan, *, node: str, left_out: Mapping[int, str] | None = None) -> None:
        self._plan = plan
        self._node = node
        self.series = [SeriesTally(planned=planned) for planned in plan.series]
        for at, why in (left_out or {}).items():
            self.series[at].left_out, self.series[at].problem = True, why
        self.forecast = ""
        self.frames_fetched = 0
        self.bytes_fetched = 0
        self._problems: list[str] = [] if plan.series else ["the plan names no series"]

    def left(self) -> list[Left]:
        """What is left of each series."""
        return [
            Left(at, 0 if one.planned.role == "current" else one.planned.rank, one.left_bytes)
            for at, one in enumerate(self.series)
        ]

    def stage(self) -> int:
        """How far the current study is: 1 from its first frame on, 2 once all of it came."""
        current = [one for one in self.series if one.planned.role == "current"]
        is_all = all(one.is_known and len(one.stored) >= len(one.entries) for one in current)
        return 2 if is_all else int(any(one.stored for one in current))

    def give_reason(self, series: Iterable[int], why: str) -> None:
        """Give series that are not complete a reason."""
        for at in series:
            if not self.series[at].is_complete and not self.series[at].problem:
                self.series[at].problem = why

    def note(self, problem: str) -> None:
        """Name something that went wrong; beyond fifty only their number is kept."""
        self._problems.append(problem)

    def fail(self, at: int, what: str, words: str) -> None:
        """Name what could not be had of the series at a position of the plan."""
        self.note(f"series {at + 1} of the plan, {what}: {words}")
        self.series[at].problem = words

    def keep(self, at: int, frame: int, fetched_bytes: int, *, joined: bool) -> None:
        """Count a frame that the store has now; 0 bytes if it did not come over the wire."""
        series = self.series[at]
        series.stored.setdefault(frame_name(series.entries[frame]), fetched_bytes)
        if fetched_bytes and not joined:
            self.frames_fetched += 1
            self.bytes_fetched += fetched_bytes
            series.fetched_frames += 1
            series.fetched_bytes += fetched_bytes

    @property
    def is_unfinished(self) -> bool:
        """True if a series is neither complete nor has a reason not to be."""
        return any(not series.is_complete and not series.problem for series in self.series)

    def note_unfinished(self, why: str) -> None:
        """Give every series that is not complete a reason, and the report too."""
        self.note(why)
        for series in self.series:
            if not series.is_complete and not series.problem:
                series.problem = why

    def report(self, *, at: datetime, final: bool) -> WarmReport:
        """The report of this moment."""
        studies = self._studies()
        is_warm = bool(studies) and all(study.is_warm for study in studies)
        state: ReportState = "warming" if not final else "warm" if is_warm else "partial"
        return WarmReport(
            prefetch_id=self._plan.prefetch_id,
            node=self._node,
            state=state,
            frames_planned=sum(study.frames_planned for study in studies),
            frames_warmed=sum(len(series.stored) for series in self.series),
            frames_verified=sum(study.frames_verified for study in studies),
            frames_fetched=self.frames_fetched,
            bytes_warmed=sum(sum(series.stored.values()) for series in self.series),
            bytes_fetched=self.bytes_fetched,
            studies=studies,
            problems=self._shown_problems(final=final),
            required_warm=self._is_required_warm(studies),
            reported_at=at,
        )

    def _is_required_warm(self, studies: Sequence[StudyWarmth]) -> bool:
        warm = {study.study_instance_uid for study in studies if study.is_warm}
        return bool(self._plan.required) and warm.issuperset(self._plan.required)

    def _studies(self) -> tuple[StudyWarmth, ...]:
        by_study: dict[str, list[SeriesTally]] = {}
        for series in self.series:
            by_study.setdefault(series.planned.series.study_instance_uid, []).append(series)
        return tuple(_warmth(uid, series) for uid, series in by_study.items())

    def _shown_problems(self, *, final: bool) -> tuple[str, ...]:
        beyond = len(self._problems) - _MOST_PROBLEMS
        more = (f"and {beyond} more",) if beyond > 0 else ()
        forecast = (self.forecast,) if self.forecast and not final else ()
        return (*forecast, *self._problems[:_MOST_PROBLEMS], *more)


def _warmth(study_instance_uid: str, series: Sequence[SeriesTally]) -> StudyWarmth:
    # of a series whose metadata are not read yet no frame is planned, and so none is lacking
    named = (one.problem or ("" if one.is_known else NOT_READ) for one in series)
    problems = dict.fromkeys(problem for problem in named if problem)
    return StudyWarmth(
        study_instance_uid=study_instance_uid,
        role=series[0].planned.role,
        frames_planned=sum(len(one.entries) for one in series),
        frames_verified=sum(len(one.verified) for one in series),
        problem="; ".join(problems),
    )
