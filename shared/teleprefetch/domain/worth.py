"""What prefetching was worth, by an audit: what was there for readers, and what for nobody.

Three questions, by frames and by bytes: of what readers were sent, how much came from the store
(`hit_rate`); of what was warmed, how much did anybody open (`waste`); and which studies that an
order had listed had to be fetched while somebody waited (`late_studies`).
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from teleprefetch.domain.audit.entry import Entry
from teleprefetch.domain.audit.record import SERVING, AuditRecord

By = Literal["all", "day", "rank", "modality", "origin", "location"]
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
            _warm(series.setdefault(key, _Warmed("")), event, _group(entry, by))
        elif event.kind in SERVING and event.frames and event.status in {200, 206}:
            one = series.setdefault(key, _Warmed(NOT_WARMED))
            _serve(one, event, is_listed=event.study in listed)
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
    return str(said)


def _warm(series: _Warmed, event: AuditRecord, group: str) -> None:
    series.group = group
    series.frames = int(event.detail.get("frames", 0))
    series.size_bytes = int(event.detail.get("bytes", 0))


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
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
