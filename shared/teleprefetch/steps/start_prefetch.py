"""State `StartPrefetch`: one `prefetch` execution for each imported study, by name."""

from collections.abc import Mapping
from typing import Any, Final

from teleprefetch.model import Value
from teleprefetch.ports import Documents, Executions
from teleprefetch.prefetch import ImportedStudies, ImportResolution

BATCH: Final = 200  # starts in one invocation; StartExecution refills at 150 to 300 a second


class Started(Value):
    """How far the studies of an import are; `remaining` 0 ends the loop."""

    next: int
    remaining: int
    started: int
    already: int


def run(
    state: Mapping[str, Any], *, documents: Documents, executions: Executions, batch: int = BATCH
) -> Started:
    """Start the next executions; one that exists by name is not started again.

    Args:
        state: `resolution`, and `started` of the round before, if there was one.

    Raises:
        OriginThrottledError: Step Functions asks to slow down; the round may be repeated.
    """
    resolution = ImportResolution.parse(state.get("resolution"), at="resolution")
    before = Started.parse(
        state.get("started", {"next": 0, "remaining": 0, "started": 0, "already": 0}),
        at="started",
    )
    requests = documents.get(resolution.requests, ImportedStudies).requests
    todo = requests[before.next : before.next + batch]
    begun = [
        executions.start(request.prefetch_id, {"request": request.model_dump(mode="json")})
        for request in todo
    ]
    return Started(
        next=before.next + len(todo),
        remaining=len(requests) - before.next - len(todo),
        started=before.started + sum(begun),
        already=before.already + len(begun) - sum(begun),
    )
