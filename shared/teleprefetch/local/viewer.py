"""Gets the released viewer once: OHIF's npm package, checked against the digest written here.

Nothing of the package is run: its archive is checked, and the built `dist` of it is unpacked.
"""

import base64
import gzip
import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from teleprefetch.errors import CorruptPayloadError, InvalidPayloadError, OriginUnavailableError

PACKAGE: Final = "@ohif/app@3.13.2"
# `npm view @ohif/app@3.13.2 dist.integrity`: a Subresource Integrity string.
INTEGRITY: Final = (
    "sha512-WZdxmpmG7rqFgW9ZJLcbgr3XCtLi1KDNPoMaeY5PPe6j4G4fjEjjkycZM6C6Zk2F"
    "87BKxFfpq+jd5xXZB9E8EA=="
)
_BUILT: Final = "package/dist/"
_LICENCE: Final = "package/LICENSE"
# Source maps are a fifth of it, and no reader's browser asks for one.
_LEFT_OUT: Final = (".map",)
_PACKED_TOO: Final = (".js", ".css", ".html", ".svg", ".json", ".jsonc", ".wasm")
_PACKED_FROM_BYTES: Final = 1024
_MOST_BYTES: Final = 1 << 30
_PACK_WITHIN_S: Final = 600


def fetch_viewer(target: Path, *, archive: Path | None = None) -> int:
    """Put the viewer into `target`, which must not exist yet or be empty; how many files it has.

    Args:
        target: made; complete or not there at all.
        archive: the package as `npm pack` wrote it; None asks npm for it.

    Raises:
        InvalidPayloadError: `target` holds something, or the archive is missing.
        OriginUnavailableError: npm is missing, or could not get the package.
        CorruptPayloadError: the archive is not the one whose digest is written here.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InvalidPayloadError("viewer: the folder exists and is not empty")
    if archive is not None and not archive.is_file():
        raise InvalidPayloadError("viewer: no such archive")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="viewer-", dir=target.parent) as folder:
        packed = archive or _npm_pack(Path(folder))
        check_integrity(packed, INTEGRITY)
        built = Path(folder) / "built"
        count = unpack(packed, built)
        _pack_files(built)
        if target.exists():
            target.rmdir()
        built.rename(target)
    return count


def check_integrity(archive: Path, integrity: str) -> None:
    """Compare a file with a Subresource Integrity string of SHA-512.

    Raises:
        CorruptPayloadError: they differ.
    """
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha512").digest()
    if f"sha512-{base64.b64encode(digest).decode()}" != integrity:
        raise CorruptPayloadError("viewer: the package does not match its SHA-512")


def unpack(archive: Path, target: Path) -> int:
    """Write the built files of a package below `target`; how many there are.

    Raises:
        CorruptPayloadError: it is no such package, or one of its files would lie elsewhere.
    """
    count = 0
    with tarfile.open(archive, "r:gz") as package:
        for member, place in _wanted(package):
            content = package.extractfile(member)
            if content is None:
                raise CorruptPayloadError("viewer: the package is damaged")
            path = target / place
            path.parent.mkdir(parents=True, exist_ok=True)
            with content, path.open("wb") as file:
                shutil.copyfileobj(content, file)
            count += 1
    if not (target / "index.html").is_file():
        raise CorruptPayloadError("viewer: the package holds no built viewer")
    return count


def _wanted(package: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, PurePosixPath]]:
    size_bytes = 0
    for member in package:
        name = member.name
        if not member.isfile() or name.endswith(_LEFT_OUT):
            continue
        if name != _LICENCE and not name.startswith(_BUILT):
            continue
        place = PurePosixPath(name.removeprefix(_BUILT) if name != _LICENCE else "LICENSE")
        size_bytes += member.size
        if place.is_absolute() or ".." in place.parts or size_bytes > _MOST_BYTES:
            raise CorruptPayloadError("viewer: the package has a file that does not belong there")
        yield member, place


def _pack_files(folder: Path) -> None:
    """Put each text file's gzip beside it, so that the node packs nothing while it serves."""
    for path in sorted(folder.rglob("*")):
        if path.suffix in _PACKED_TOO and path.stat().st_size >= _PACKED_FROM_BYTES:
            packed = gzip.compress(path.read_bytes(), compresslevel=6, mtime=0)
            path.with_name(f"{path.name}.gz").write_bytes(packed)


def _npm_pack(folder: Path) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        raise OriginUnavailableError(
            f"viewer: npm is not installed; run `npm pack {PACKAGE}` elsewhere and give --archive"
        )
    command = [npm, "pack", PACKAGE, "--ignore-scripts", "--pack-destination", str(folder)]
    try:
        subprocess.run(  # noqa: S603  # fixed words and a folder of our own
            command, cwd=folder, check=True, capture_output=True, timeout=_PACK_WITHIN_S
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise OriginUnavailableError(f"viewer: npm could not get {PACKAGE}") from error
    found = list(folder.glob("*.tgz"))
    if len(found) != 1:
        raise OriginUnavailableError(f"viewer: npm could not get {PACKAGE}")
    return found[0]
