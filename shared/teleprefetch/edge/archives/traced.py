"""Readers' misses, each with a trace: how long the archive took, and what came of it.

It stands before what reads through, and only if there is tracing: of a request that the store
answers nothing comes here.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

from teleprefetch.edge.archives.reading import ReadThrough
from teleprefetch.edge.store.holdings import StoredFrame
from teleprefetch.edge.watching.tracing import Tracing
from teleprefetch.errors import PrefetchError

T = TypeVar("T")


class TracedReads:
    """Reads through, and takes it down; called from many threads.

    Args:
        reads: reads through.
        tracing: where spans go.
    """

    def __init__(self, reads: ReadThrough, tracing: Tracing) -> None:
        self._reads = reads
        self._tracing = tracing

    def frames(
        self,
        study_instance_uid: str,
        series_instance_uid: str,
        sop_instance_uid: str,
        frame_numbers: Sequence[int],
        *,
        bearer: str,
    ) -> list[StoredFrame]:
        """As `ReadThrough.frames`."""
        return self._taken_down(
            "frames",
            lambda: self._reads.frames(
                study_instance_uid,
                series_instance_uid,
                sop_instance_uid,
                frame_numbers,
                bearer=bearer,
            ),
            lambda frames: sum(one.length_bytes for one in frames),
            asked=len(frame_numbers),
        )

    def metadata(self, study_instance_uid: str, series_instance_uid: str, *, bearer: str) -> bytes:
        """As `ReadThrough.metadata`."""
        return self._taken_down(
            "metadata",
            lambda: self._reads.metadata(study_instance_uid, series_instance_uid, bearer=bearer),
            len,
        )

    def study(self, study_instance_uid: str, *, bearer: str) -> None:
        """As `ReadThrough.study`."""
        self._taken_down(
            "study",
            lambda: self._reads.study(study_instance_uid, bearer=bearer),
            lambda _none: None,
        )

    def retry_after_s(self) -> int:
        """As `ReadThrough.retry_after_s`."""
        return self._reads.retry_after_s()

    def _taken_down(
        self, what: str, ask: Callable[[], T], size: Callable[[T], int | None], *, asked: int = 1
    ) -> T:
        span = self._tracing.begin("reader's miss", what=what, asked=asked)
        try:
            answer = ask()
        except PrefetchError as error:
            name = type(error).__name__
            span.end(error=name, outcome=name)
            raise
        span.end(outcome="found", size_bytes=size(answer))
        return answer
