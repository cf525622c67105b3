"""Asks a node for every frame it claims to hold, and compares each with the archive's own."""

import itertools
import threading
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
    """Reads from a node as a viewer would, over DICOMweb, and names each of its requests.

    Args:
        url: the node's address.
        name: what the names of the requests begin with.
        bearer: the reader's token; None sends none.
    """

    def __init__(self, url: str, *, name: str, bearer: str | None) -> None:
        self._url = url
        self._names = (f"{name}-{number}" for number in itertools.count(1))
        self._headers = {} if bearer is None else {"Authorization": f"Bearer {bearer}"}
        self._pool = urllib3.PoolManager(maxsize=_AT_ONCE, retries=False, timeout=20)
        self._lock = threading.Lock()
        self._given: list[str] = []

    @property
    def given(self) -> tuple[str, ...]:
        """The names of the requests that got something of a study."""
        return tuple(self._given)

    def retrieve_frame(self, series: SeriesPointer, frame: FrameEntry) -> bytes | None:
        """The frame as one part (PS3.18 10.4), or None if the node does not give it."""
        path = frame_path(series, frame)
        return self._ask(path, accept="application/octet-stream; transfer-syntax=*")

    def search_for_study(self, study_instance_uid: str) -> bytes | None:
        """What the node finds of a study (PS3.18 10.6), or None if that is nothing."""
        path = f"/dicom-web/studies?StudyInstanceUID={study_instance_uid}"
        return self._ask(path, accept="application/dicom+json")

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def _ask(self, path: str, *, accept: str) -> bytes | None:
        with self._lock:
            name = next(self._names)
        headers = self._headers | {"Accept": accept, "X-Request-Id": name}
        answer = self._pool.request("GET", self._url + path, headers=headers)
        if answer.status != 200:
            return None
        with self._lock:
            self._given.append(name)
        return answer.data


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
