"""Asks a node for every frame it claims to hold, and compares each with the archive's own."""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import urllib3

from teleprefetch.model import FrameEntry, SeriesPointer
from teleprefetch.ports import Origin

_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class Claim:
    """A series that a node says it holds, and how many of its frames it has verified."""

    origin_id: str
    series: SeriesPointer
    frames_verified: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """How many frames were compared, and the addresses of those that differ or were refused."""

    compared: int
    differing: tuple[str, ...]

    @property
    def matching(self) -> int:
        """How many frames are the archive's, byte for byte."""
        return self.compared - len(self.differing)


class NodeReader:
    """Reads frames from a node as a viewer would, over DICOMweb."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool = urllib3.PoolManager(maxsize=_AT_ONCE, retries=False, timeout=20)

    def retrieve_frame(self, series: SeriesPointer, frame: FrameEntry) -> bytes | None:
        """The frame as one part (PS3.18 10.4), or None if the node does not give it."""
        path = frame_path(series, frame)
        accept = "application/octet-stream; transfer-syntax=*"
        answer = self._pool.request("GET", self._url + path, headers={"Accept": accept})
        return answer.data if answer.status == 200 else None

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()


def frame_path(series: SeriesPointer, frame: FrameEntry) -> str:
    """Where a frame lies below a node's address."""
    return (
        f"/dicom-web/studies/{series.study_instance_uid}/series/{series.series_instance_uid}"
        f"/instances/{frame.sop_instance_uid}/frames/{frame.frame_number}"
    )


def compare(
    claims: Iterable[Claim], *, node: NodeReader, origins: Mapping[str, Origin]
) -> Comparison:
    """Compare every frame of every claimed series.

    A claim of fewer frames than the archive holds is compared for those the node gives; a frame
    that it claims and does not give counts as differing.
    """
    compared = 0
    differing: list[str] = []
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for claim in claims:
            origin = origins[claim.origin_id]
            frames = origin.retrieve_series_metadata(claim.series).frames
            given = list(
                pool.map(
                    lambda frame, claim=claim: node.retrieve_frame(claim.series, frame), frames
                )
            )
            ours = [
                (frame, content) for frame, content in zip(frames, given, strict=True) if content
            ]
            compared += max(len(ours), claim.frames_verified)
            differing += ["not given"] * max(0, claim.frames_verified - len(ours))
            theirs = pool.map(
                lambda pair, origin=origin, claim=claim: (
                    origin.retrieve_frame(claim.series, pair[0]).content == pair[1]
                ),
                ours,
            )
            differing += [
                frame_path(claim.series, frame)
                for (frame, _), same in zip(ours, theirs, strict=True)
                if not same
            ]
    return Comparison(compared=compared, differing=tuple(differing))
