"""What prefetching was worth, by an audit: what was there for readers, and what for nobody.

Three questions, by frames and by bytes: of what readers were sent, how much came from the store
(`hit_rate`); of what was warmed, how much did anybody open (`waste`); and which studies that an
order had listed had to be fetched while somebody waited (`late_studies`). And what the archive was
asked for all that, to be priced.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from teleprefetch.domain.audit.entry import Entry
from teleprefetch.domain.audit.record import SERVING, AuditRecord
from teleprefetch.domain.warming_cost import (
    METADATA_CALLS,
    PROMOTED_FOR,
    Cost,
    Prices,
    billed_bytes,
    cost_of,
)

By = Literal["all", "day", "rank", "rule", "modality", "origin", "location"]
NOT_WARMED: Final = "not warmed"
"""The group of what readers were sent and no order had brought."""

_ALL: Final = "all"
_Series = tuple[str, str]
_Frame = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """One line of the report: what is true of one group of warmed series.

    A frame counts as a hit each time that it is served from the store, and as opened once. Bytes
    opened are a series' bytes by the share of its frames that were opened.

    `metadata_reads`, `fetched_frames` and `fetched_bytes` are what warming asked the archive for;
    where an older record does not tell, all of a series counts. `promoted_series`
    are priors' that the archive was asked for and, as far as the audit tells, not in the 30 days
    before: HealthImaging may have had them in its cheaper tier. `promoted_bytes` are as billed.
    """

    group: str
    warmed_studies: int
    warmed_frames: int
    warmed_bytes: int
    opened_frames: int
    opened_bytes: int
    hit_frames: int
    hit_bytes: int
    origin_frames: int
    origin_bytes: int
    late_studies: int
    metadata_reads: int
    fetched_frames: int
    fetched_bytes: int
    promoted_series: int
    promoted_bytes: int

    @property
    def requests(self) -> int:
        """Calls to the archive: for warming, and the frames that readers waited for."""
        return self.metadata_reads * METADATA_CALLS + self.fetched_frames + self.origin_frames

    @property
    def moved_bytes(self) -> int:
        """Bytes of frames that the archive sent for these calls."""
        return self.fetched_bytes + self.origin_bytes

    def cost(self, prices: Prices) -> Cost:
        """What that cost; of promotions the most that it can have been."""
        return cost_of(
            requests=self.requests,
            moved_bytes=self.moved_bytes,
            promoted_bytes=self.promoted_bytes,
            prices=prices,
        )

    @property
    def hit_rate(self) -> float | None:
        """The share of frames sent that came from the store; None if none was sent."""
        return _share(self.hit_frames, self.hit_frames + self.origin_frames)

    @property
    def hit_rate_bytes(self) -> float | None:
        """The same by bytes."""
        return _share(self.hit_bytes, self.hit_bytes + self.origin_bytes)

    @property
    def waste_bytes(self) -> int:
        """Warmed, and opened by nobody."""
        return self.warmed_bytes - self.opened_bytes

    @property
    def waste(self) -> float | None:
        """Its share of what was warmed; None if nothing was."""
        return _share(self.waste_bytes, self.warmed_bytes)

    def wait_saved_s(self, *, round_trip_s: float, bandwidth_bps: float) -> float:
        """What readers did not wait, were the archive that far away: an estimate.

        A round trip for each frame from the store, and its bytes over the bandwidth; viewers that
        ask for several at once would have waited less.
        """
        return self.hit_frames * round_trip_s + self.hit_bytes * 8 / bandwidth_bps


@dataclass(slots=True)
class _Warmed:
    """What is known of one series since it was first warmed, or served without being warmed."""

    group: str
    frames: int = 0
    size_bytes: int = 0
    opened: set[_Frame] = field(default_factory=set)
    hit_frames: int = 0
    hit_bytes: int = 0
    origin_frames: int = 0
    origin_bytes: int = 0
    is_late: bool = False
    metadata_reads: int = 0
    fetched_frames: int = 0
    fetched_bytes: int = 0
    promotions: int = 0
    promoted_bytes: int = 0
    touched_at: datetime | None = None


def worth_of(entries: Iterable[Entry], *, by: By = "all") -> tuple[Worth, ...]:
    """The report's lines, by group in order of its name; what no order had brought comes last.

    The entries may be of several lanes and nodes, in any order of lanes: they are sorted by time.
    A series that is warmed again belongs to the group of its last warming.
    """
    series: dict[_Series, _Warmed] = {}
    entries = sorted(entries, key=lambda entry: entry.at)
    listed = {entry.event.study for entry in entries if entry.event.kind == "warmed"}
    for entry in entries:
        event = entry.event
        key = (event.study, event.series)
        if event.kind == "warmed":
            one = series.setdefault(key, _Warmed(""))
            _warm(one, event, _group(entry, by))
            _spend(one, event, at=entry.at)
        elif event.kind in SERVING and event.frames and event.status in {200, 206}:
            one = series.setdefault(key, _Warmed(NOT_WARMED))
            _serve(one, event, is_listed=event.study in listed)
            if event.source == "origin":
                one.touched_at = entry.at
    return _lines(series)


def _group(entry: Entry, by: By) -> str:
    if by == "all":
        return _ALL
    if by == "day":
        return entry.at.date().isoformat()
    if by == "origin":
        return entry.event.origin or "unknown"
    if by == "location":
        return entry.node
    said = entry.event.detail.get(by, "unknown")
    if by == "rank":
        return "current" if said == 0 else f"prior {said}"
    if by == "rule" and entry.event.detail.get("rank") == 0:
        return "current"
    return str(said)


def _warm(series: _Warmed, event: AuditRecord, group: str) -> None:
    series.group = group
    series.frames = int(event.detail.get("frames", 0))
    series.size_bytes = int(event.detail.get("bytes", 0))


def _spend(series: _Warmed, event: AuditRecord, *, at: datetime) -> None:
    """What an order asked the archive for; nothing of what was here already."""
    detail = event.detail
    frames = int(detail.get("fetched_frames", detail.get("frames", 0)))
    metadata_reads = int(detail.get("metadata_reads", 1))
    series.fetched_frames += frames
    series.fetched_bytes += int(detail.get("fetched_bytes", detail.get("bytes", 0)))
    series.metadata_reads += metadata_reads
    if not frames and not metadata_reads:
        return
    is_cold = series.touched_at is None or at - series.touched_at >= PROMOTED_FOR
    if is_cold and int(detail.get("rank", 0)):
        series.promotions += 1
        series.promoted_bytes += billed_bytes(series.size_bytes)
    series.touched_at = at


def _serve(series: _Warmed, event: AuditRecord, *, is_listed: bool) -> None:
    numbers = _numbers(event.frames)
    series.opened.update((event.instance, number) for number in numbers)
    if event.source == "origin":
        series.origin_frames += len(numbers)
        series.origin_bytes += event.size_bytes
        series.is_late = series.is_late or is_listed
    else:
        series.hit_frames += len(numbers)
        series.hit_bytes += event.size_bytes


def _numbers(ranges: str) -> list[int]:
    numbers: list[int] = []
    for one in ranges.split(","):
        first, _, last = one.partition("-")
        numbers.extend(range(int(first), int(last or first) + 1))
    return numbers


def _lines(series: Mapping[_Series, _Warmed]) -> tuple[Worth, ...]:
    groups: dict[str, list[tuple[str, _Warmed]]] = defaultdict(list)
    for (study, _), one in series.items():
        groups[one.group].append((study, one))
    names = sorted(groups, key=lambda name: (name == NOT_WARMED, name))
    return tuple(_line(name, groups[name]) for name in names)


def _line(group: str, members: list[tuple[str, _Warmed]]) -> Worth:
    opened = [min(len(one.opened), one.frames) for _, one in members]
    return Worth(
        group=group,
        warmed_studies=len({study for study, one in members if one.frames}),
        warmed_frames=sum(one.frames for _, one in members),
        warmed_bytes=sum(one.size_bytes for _, one in members),
        opened_frames=sum(opened),
        opened_bytes=sum(
            one.size_bytes * count // one.frames
            for (_, one), count in zip(members, opened, strict=True)
            if one.frames
        ),
        hit_frames=sum(one.hit_frames for _, one in members),
        hit_bytes=sum(one.hit_bytes for _, one in members),
        origin_frames=sum(one.origin_frames for _, one in members),
        origin_bytes=sum(one.origin_bytes for _, one in members),
        late_studies=len({study for study, one in members if one.is_late}),
        metadata_reads=sum(one.metadata_reads for _, one in members),
        fetched_frames=sum(one.fetched_frames for _, one in members),
        fetched_bytes=sum(one.fetched_bytes for _, one in members),
        promoted_series=sum(one.promotions for _, one in members),
        promoted_bytes=sum(one.promoted_bytes for _, one in members),
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
