"""The files of the store: a segment, its metadata and its mark for each version of a series."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from teleprefetch.edge.store.disk import alone_with, disk_errors, write_synced
from teleprefetch.edge.store.marks import ReadMarks
from teleprefetch.edge.store.proofs import Proofs
from teleprefetch.edge.store.rows import Piece

_SUPERSEDED: Final = "superseded"
_DIRECTORIES: Final = ("segments", "metadata", "read", _SUPERSEDED)


def private_directory(path: Path) -> None:
    """Make a directory that only its owner may enter; raises NodeUnavailableError."""
    with disk_errors():
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)


class Files:
    """Files by the name of the segment; names are digests and never used again."""

    def __init__(self, root: Path, *, proofs: Proofs) -> None:
        for directory in (root, *(root / name for name in _DIRECTORIES)):
            private_directory(directory)
        self.segments = root / "segments"
        self._metadata = root / "metadata"
        self._superseded = root / _SUPERSEDED
        self.marks = ReadMarks(root / "read")
        self._proofs = proofs

    def segment(self, name: str) -> Path:
        """Where a segment is."""
        return self.segments / name

    def metadata(self, name: str) -> Path:
        """Where a segment's metadata are."""
        return self._metadata / f"{name}.json.gz"

    def are_there(self, name: str) -> bool:
        """Tell whether a segment and its metadata are there."""
        return self.segment(name).exists() and self.metadata(name).exists()

    def names(self) -> list[str]:
        """The segments that there are."""
        with disk_errors():
            return os.listdir(self.segments)  # noqa: PTH208  # names alone

    def of_lineage(self, lineage: str) -> list[str]:
        """The names of all files of a series in any version, the superseded ones too."""
        prefix = f"{lineage[:16]}-"
        with disk_errors():
            listed = [
                name
                for directory in (self.segments, self._metadata, self._superseded)
                for name in os.listdir(directory)  # noqa: PTH208  # names alone
            ]
        return [name for name in listed if name.startswith(prefix)]

    def write_metadata(self, name: str, packed: bytes) -> Piece:
        """Write a segment's metadata, and return when they are on the disk.

        Raises:
            NodeUnavailableError: the disk refuses.
        """
        write_synced(self.metadata(name), packed)
        digest = hashlib.sha256(packed).hexdigest()
        return Piece(offset=0, length_bytes=len(packed), sha256=digest)

    def remove(self, name: str) -> int:
        """Remove a segment with all that belongs to it; how many bytes that freed."""
        freed = 0
        with disk_errors():
            for path in (self.segment(name), self.metadata(name)):
                try:
                    stat = path.stat()
                except FileNotFoundError:
                    continue
                self._proofs.forget(stat)
                path.unlink(missing_ok=True)
                freed += stat.st_size
            self.marks.forget(name)
        return freed

    def remove_unused(self, name: str) -> int | None:
        """Remove a segment unless a process writes it; how many bytes that freed, or None."""
        with disk_errors(), alone_with(self.segment(name)) as descriptor:
            if descriptor is None and self.segment(name).exists():
                return None
            return self.remove(name)

    def supersede(self, name: str) -> None:
        """Keep a segment's frames for the next version to take over; its metadata go at once."""
        with disk_errors():
            path = self.segment(name)
            try:
                self._proofs.forget(path.stat())
                path.rename(self._superseded / name)
                os.utime(self._superseded / name)
            except FileNotFoundError:
                pass
            self.remove(name)

    def superseded(self, lineage: str = "") -> Iterator[Path]:
        """The superseded segments (of one series), the newest first."""
        found = [one for one in self._superseded_stats() if one[1].name.startswith(lineage[:16])]
        return iter([path for _, path, _ in sorted(found, reverse=True)])

    def remove_superseded(self, *, lineage: str = "", before_s: float | None = None) -> int:
        """Remove superseded segments (of one series; older than a time); how many bytes."""
        freed = 0
        for at_s, path, size_bytes in self._superseded_stats():
            if path.name.startswith(lineage[:16]) and (before_s is None or at_s < before_s):
                with disk_errors():
                    path.unlink(missing_ok=True)
                freed += size_bytes
        return freed

    def superseded_bytes(self) -> int:
        """What the superseded segments take."""
        return sum(size_bytes for _, _, size_bytes in self._superseded_stats())

    def _superseded_stats(self) -> list[tuple[float, Path, int]]:
        """When each became so, where it is, and its size; another process may remove it."""
        found = []
        with disk_errors(), os.scandir(self._superseded) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    stat = entry.stat()
                    found.append((stat.st_mtime, Path(entry.path), stat.st_size))
        return found

    def sweep(self, held: set[str]) -> int:
        """Remove metadata and marks of segments that are not there any more; how many files."""
        gone = 0
        with disk_errors():
            for path in self._metadata.iterdir():
                if path.name.removesuffix(".json.gz") not in held:
                    path.unlink(missing_ok=True)
                    gone += 1
            self.marks.sweep(held)
        return gone
