"""The released viewer is taken as it was released, or not at all."""

import base64
import gzip
import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from teleprefetch.errors import CorruptPayloadError, InvalidPayloadError, OriginUnavailableError
from teleprefetch.local import viewer
from teleprefetch.local.viewer import check_integrity, fetch_viewer, unpack

BUNDLE = b"let a = 1;" * 500
RELEASED = {
    "package/package.json": b"{}",
    "package/LICENSE": b"MIT",
    "package/src/index.js": b"source",
    "package/dist/index.html": b"<!doctype html>",
    "package/dist/app.bundle.js": BUNDLE,
    "package/dist/app.bundle.js.map": b"{}" * 1000,
    "package/dist/assets/icon.png": b"png" * 1000,
}


def package(path: Path, files: dict[str, bytes], *links: str) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for name in links:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(member)
    return path


def integrity_of(path: Path) -> str:
    return "sha512-" + base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()


@pytest.fixture
def released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    archive = package(tmp_path / "released.tgz", RELEASED)
    monkeypatch.setattr(viewer, "INTEGRITY", integrity_of(archive))
    return archive


def test_the_built_files_are_unpacked_and_nothing_else(released: Path, tmp_path: Path) -> None:
    target = tmp_path / "new" / "viewer"

    assert fetch_viewer(target, archive=released) == 4

    names = {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}
    assert names == {
        "LICENSE", "index.html", "app.bundle.js", "app.bundle.js.gz", "assets/icon.png"
    }  # fmt: skip
    assert gzip.decompress((target / "app.bundle.js.gz").read_bytes()) == BUNDLE
    assert [path.name for path in target.parent.iterdir()] == ["viewer"]


def test_a_package_that_differs_by_one_bit_is_refused_and_leaves_nothing(
    released: Path, tmp_path: Path
) -> None:
    content = bytearray(released.read_bytes())
    content[len(content) // 2] ^= 1
    released.write_bytes(content)

    with pytest.raises(CorruptPayloadError, match="SHA-512"):
        fetch_viewer(tmp_path / "viewer", archive=released)

    assert [path.name for path in tmp_path.iterdir()] == ["released.tgz"]


def test_the_digest_written_here_is_a_sha_512() -> None:
    kind, _, digest = viewer.INTEGRITY.partition("-")

    assert kind == "sha512"
    assert len(base64.b64decode(digest, validate=True)) == 64


def test_a_digest_of_another_kind_does_not_match(released: Path) -> None:
    sha1 = base64.b64encode(hashlib.sha1(released.read_bytes()).digest()).decode()  # noqa: S324

    with pytest.raises(CorruptPayloadError):
        check_integrity(released, f"sha1-{sha1}")


@pytest.mark.parametrize("name", ["package/dist/../../outside.js", "package/dist//etc/outside.js"])
def test_a_file_that_would_lie_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    archive = package(tmp_path / "bad.tgz", RELEASED | {name: b"x"})

    with pytest.raises(CorruptPayloadError, match="does not belong"):
        unpack(archive, tmp_path / "out" / "viewer")

    assert not list(tmp_path.rglob("outside.js"))


def test_a_link_in_a_package_is_not_made(tmp_path: Path) -> None:
    archive = package(tmp_path / "links.tgz", RELEASED, "package/dist/link.js")

    unpack(archive, tmp_path / "viewer")

    assert not (tmp_path / "viewer" / "link.js").is_symlink()


def test_a_package_without_a_built_viewer_is_refused(tmp_path: Path) -> None:
    archive = package(tmp_path / "source.tgz", {"package/src/index.js": b"source"})

    with pytest.raises(CorruptPayloadError, match="no built viewer"):
        unpack(archive, tmp_path / "viewer")


def test_a_folder_that_holds_something_is_not_written_to(released: Path, tmp_path: Path) -> None:
    target = tmp_path / "viewer"
    target.mkdir()
    (target / "mine.txt").write_text("kept")

    with pytest.raises(InvalidPayloadError, match="not empty"):
        fetch_viewer(target, archive=released)

    assert (target / "mine.txt").read_text() == "kept"


def test_without_npm_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(OriginUnavailableError, match=r"npm pack @ohif/app@.* --archive"):
        fetch_viewer(tmp_path / "viewer")


def test_npm_that_cannot_get_the_package_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\nexit 1\n")
    npm.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    with pytest.raises(OriginUnavailableError, match="could not get"):
        fetch_viewer(tmp_path / "viewer")
