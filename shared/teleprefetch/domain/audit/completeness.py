"""Whether nothing is missing between two times, and if that cannot be proven, why not."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from teleprefetch.domain.audit.chain import Fault, Finding, Lane
from teleprefetch.domain.audit.checkpoint import Checkpoint
from teleprefetch.domain.audit.entry import stamp


@dataclass(frozen=True, slots=True)
class Span:
    """Two instants, both included."""

    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Proof:
    """What can be said of a time: complete, or the reasons why that is not proven."""

    reasons: tuple[str, ...]

    @property
    def is_complete(self) -> bool:
        """True if every lane was written and kept without a gap through the whole time."""
        return not self.reasons


def missing_lanes(
    lanes: Iterable[Lane], checkpoints: Mapping[str, Sequence[object]]
) -> tuple[Finding, ...]:
    """A finding for each lane that checkpoints speak of and that is not here."""
    absent = sorted(checkpoints.keys() - {lane.name for lane in lanes})
    words = "checkpoints speak of it, and nothing of it is here"
    return tuple(Finding(Fault.LANE_MISSING, name, 1, "log", words) for name in absent)


def prove(
    lanes: Sequence[Lane], checkpoints: Mapping[str, Sequence[Checkpoint]], span: Span
) -> Proof:
    """What can be proven of a time.

    A lane is complete if nothing is wrong with it, it began before the time or begins at 1, a
    checkpoint that was made after the time covers what it has of it, and no record says that
    others could not be written.

    Args:
        lanes: all of them, read to their ends.
        checkpoints: of each lane, those that hold.
        span: the time.
    """
    reasons = [str(finding) for finding in missing_lanes(lanes, checkpoints)]
    if not lanes:
        reasons.append("there is no lane")
    for lane in lanes:
        reasons.extend(_reasons(lane, checkpoints.get(lane.name, ()), span))
    return Proof(tuple(reasons))


def _reasons(lane: Lane, checkpoints: Sequence[Checkpoint], span: Span) -> Iterator[str]:
    yield from (str(finding) for finding in lane.findings[:1])
    if lane.first is None or lane.last is None:
        yield f"lane {lane.name}: is empty"
        return
    if lane.first.seq != 1 and lane.first.at > span.since:
        yield f"lane {lane.name}: what is here begins after the time does"
    covering = [point for point in checkpoints if point.covers(span.until)]
    if not covering:
        yield f"lane {lane.name}: no checkpoint was made after the time; its end may be cut off"
    elif _last_in(lane, span) > covering[-1].seq:
        yield f"lane {lane.name}: the clock went back; records of the time are not covered yet"
    for gap in lane.gaps:
        began_at = str(gap.event.detail.get("began_at", ""))
        lost = gap.event.detail.get("unrecorded", 0)
        if lost and gap.at >= span.since and began_at <= stamp(span.until):
            yield f"lane {lane.name}, record {gap.seq}: {lost} events could not be recorded"


def _last_in(lane: Lane, span: Span) -> int:
    """The last record, if the clock went back and it claims to be of the time; else none."""
    if not lane.clock_went_back or lane.last is None:
        return 0
    return lane.last.seq if lane.last.at <= span.until else 0
