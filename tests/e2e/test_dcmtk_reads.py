"""DCMTK reads what curl fetched from the node as it reads what curl fetched from Orthanc."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pydicom
import pytest

from teleprefetch.domain.multipart import ContentType, decode
from teleprefetch.local.login.people import READER
from teleprefetch.local.reading import assign, notice_of
from teleprefetch.local.stack import LocalStack, StackOptions
from tests.orthanc import run_orthanc, skip_without_orthanc, store
from tests.reading_room import Kind, furnish

_KINDS: Final = ("ct", "enhanced-ct", "jpeg-ls", "jpeg-2000")
_ACCEPT: Final = 'multipart/related; type="application/dicom"; transfer-syntax=*'
# Who wrote the file, and for whom (PS3.10 7.1): each server says it of itself.
_WRITTEN_BY: Final = ("(0002,0000)", "(0002,0012)", "(0002,0013)", "(0002,0016)")


class Fetched:
    """The first instance of each kind, as both servers sent it."""

    def __init__(self, folder: Path, kinds: dict[str, Kind], url: str, stack: LocalStack) -> None:
        bearer = f"Authorization: Bearer {stack.token_for(READER)}"
        self.files = {
            name: (
                curl(f"{url}{path_of(kind)}", folder / f"{name}-archive.dcm"),
                curl(
                    f"{stack.node.url}/dicom-web{path_of(kind)}",
                    folder / f"{name}-node.dcm",
                    "-H",
                    bearer,
                ),
            )
            for name, kind in kinds.items()
        }


def path_of(kind: Kind) -> str:
    """Where a server has the first instance of a kind."""
    first = pydicom.dcmread(kind.files[0], stop_before_pixels=True)
    return (
        f"/studies/{kind.study_instance_uid}/series/{first.SeriesInstanceUID}"
        f"/instances/{first.SOPInstanceUID}"
    )


def curl(url: str, path: Path, *options: str) -> Path:
    """The file in the one part of the answer."""
    head = path.with_suffix(".head")
    command = ["curl", "-fsS", "--max-time", "30", "-H", f"Accept: {_ACCEPT}", *options]
    subprocess.run([*command, "-D", str(head), "-o", str(path), url], check=True)
    named = {
        name.lower(): value.strip()
        for name, _, value in (line.partition(":") for line in head.read_text().splitlines())
    }
    kind = ContentType.parse(named["content-type"])
    content = path.read_bytes()
    (part,) = decode(kind, content, max_parts=1, max_part_bytes=len(content))
    path.write_bytes(part.content)
    return path


@pytest.fixture(scope="module")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fetched]:
    skip_without_orthanc()
    for program in ("curl", "dcmftest", "dcmdump"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}")
    room = furnish(tmp_path_factory.mktemp("reading-room"))
    kinds = {kind.name: kind for kind in room.kinds if kind.name in _KINDS}
    with contextlib.ExitStack() as opened:
        url = opened.enter_context(run_orthanc(tmp_path_factory.mktemp("orthanc")))
        for kind in kinds.values():
            store(url, kind.files)
        stack = opened.enter_context(LocalStack(StackOptions(dicomweb_url=url)))
        for kind in kinds.values():
            assign(
                kind.study_instance_uid,
                assignment_id=kind.name,
                origin_id="archive",
                assigned_to=stack.provider.reads,
            )
            assert notice_of(kind.name).reason == "warm"
        yield Fetched(tmp_path_factory.mktemp("fetched"), kinds, url, stack)


def dumped(path: Path) -> list[str]:
    """Every element as DCMTK reads it, whole values, but for who wrote the file."""
    dump = subprocess.run(
        ["dcmdump", "-q", "+L", str(path)], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    lines = [line for line in dump if line.startswith(("(", " "))]
    assert len(lines) > 30
    return [line for line in lines if not line.startswith(_WRITTEN_BY)]


@pytest.mark.parametrize("name", _KINDS)
def test_dcmtk_takes_the_nodes_answer_for_a_dicom_file(fetched: Fetched, name: str) -> None:
    _, ours = fetched.files[name]

    asked = subprocess.run(["dcmftest", str(ours)], capture_output=True, text=True, check=False)

    assert asked.stdout.startswith("yes:")


@pytest.mark.parametrize("name", _KINDS)
def test_dcmtk_reads_every_element_alike_from_both(fetched: Fetched, name: str) -> None:
    theirs, ours = fetched.files[name]

    assert dumped(ours) == dumped(theirs)


def test_dcmtk_decodes_the_same_pixels_from_both(fetched: Fetched, tmp_path: Path) -> None:
    decoded = []
    for number, path in enumerate(fetched.files["jpeg-ls"]):
        plain = tmp_path / f"{number}.dcm"
        subprocess.run(["dcmdjpls", "-q", str(path), str(plain)], check=True)
        decoded.append(pydicom.dcmread(plain).PixelData)

    assert decoded[0] == decoded[1]
    assert len(set(decoded[0])) > 1
