"""The demo as plain lines, one for each thing that happens: for pipes, logs and dumb terminals."""

from collections.abc import Iterator

from teleprefetch.local.demo_state import (
    DemoState,
    NodeProgress,
    PriorRow,
    day,
    megabytes,
    printable,
)

_STEPS = 4


def lines_between(before: DemoState, after: DemoState) -> Iterator[str]:
    """What there is to say of a change; progress is told a quarter at a time."""
    for event in after.events[len(before.events) :]:
        yield f"{event.time:%H:%M:%S} event: {printable(event.detail_type)}"
    if after.deadline is not None and after.deadline != before.deadline:
        yield f"notice due at {after.deadline:%H:%M:%S}"
    yield from _machines(before, after)
    yield from (_prior(row) for row in after.ranked if row not in before.ranked)
    yield from _nodes(before, after)
    if after.released is not None and after.released != before.released:
        yield printable(after.released.sentence)
    if after.verified is not None and after.verified != before.verified:
        yield after.verified.sentence
    if after.accessed is not None and after.accessed != before.accessed:
        yield printable(after.accessed.sentence)


def _machines(before: DemoState, after: DemoState) -> Iterator[str]:
    for machine in after.machines:
        if machine not in before.machines:
            yield printable(f"{machine.machine} {machine.execution}: {machine.state}")


def _nodes(before: DemoState, after: DemoState) -> Iterator[str]:
    known = {node.node: node for node in before.nodes}
    for node in after.nodes:
        if _step(node) != _step(known.get(node.node)):
            yield _progress(node)


def _prior(row: PriorRow) -> str:
    words = (day(row.study_date), row.modality, row.description)
    study = " ".join(printable(word) for word in words if word)
    return f"prior {row.rank}, {row.fate}: {study}; {row.score:.0f}; {printable(row.reason)}"


def _step(node: NodeProgress | None) -> tuple[int, bool]:
    if node is None:
        return (-1, False)
    planned = max(node.frames_planned, 1)
    return (node.frames_warmed * _STEPS // planned, node.frames_verified >= planned)


def _progress(node: NodeProgress) -> str:
    return (
        f"node {node.node}: {node.frames_warmed} of {node.frames_planned} frames, "
        f"{node.frames_verified} verified, "
        f"{megabytes(node.bytes_warmed)} of about {megabytes(node.bytes_planned)} MB"
    )
