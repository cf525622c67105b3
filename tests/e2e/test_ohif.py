"""OHIF in Chromium reads from a warm node while every archive is switched off.

What it shows is compared with the files: the pixels that its codecs made of what the node sent.
"""

import contextlib
import hashlib
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import imagecodecs
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.encaps import get_frame
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless

from teleprefetch.assignment import Notice
from teleprefetch.local import demo_input
from teleprefetch.local.login.people import OPERATOR
from teleprefetch.local.reading import assign, notice_of, viewer_link
from teleprefetch.local.stack import DATASTORE_ID, LocalStack, StackOptions
from tests.browser import open_browser
from tests.ohif import (
    SHOWN_WITHIN_S,
    assert_nothing_went_wrong,
    look,
    reader,
    skip_without_viewer,
)
from tests.orthanc import run_orthanc, skip_without_orthanc, store
from tests.reading_room import Kind, ReadingRoom, furnish, small_ct

COMMAND = Path(sys.executable).parent / "teleprefetch"
HTJ2K = "htj2k"


@dataclass(frozen=True)
class WarmNode:
    """A node that is warm with every kind of study, and nobody behind it."""

    url: str
    issuer: str
    operator: str
    room: ReadingRoom
    htj2k: Kind
    notices: dict[str, Notice]
    archive_requests: Any

    def kind(self, name: str) -> Kind:
        return next(one for one in (*self.room.kinds, self.htj2k) if one.name == name)


@pytest.fixture(scope="module")
def viewer() -> Path:
    return skip_without_viewer()


@pytest.fixture(scope="module")
def node(viewer: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmNode]:
    skip_without_orthanc()
    folder = tmp_path_factory.mktemp("reading-room")
    room, htj2k = furnish(folder), small_ct(folder, name=HTJ2K)
    with contextlib.ExitStack() as opened:
        archive = opened.enter_context(contextlib.ExitStack())
        url = archive.enter_context(run_orthanc(tmp_path_factory.mktemp("orthanc")))
        for kind in room.kinds:
            store(url, kind.files)
        options = StackOptions(dicomweb_url=url, node_variables={"VIEWER_PATH": str(viewer)})
        stack = opened.enter_context(LocalStack(options))
        notices = _warm(stack, room, htj2k)
        archive.close()
        _assert_is_off(url)
        stack.data_store.throttle_all()
        log = stack.data_store.request_log
        issuer, operator = stack.provider.issuer, stack.token_for(OPERATOR)
        yield WarmNode(stack.node.url, issuer, operator, room, htj2k, notices, log)


def _warm(stack: LocalStack, room: ReadingRoom, htj2k: Kind) -> dict[str, Notice]:
    """Assign every study but the prior, which comes with the study that it is a prior of."""
    s3, client = boto3.client("s3"), boto3.client("medical-imaging")
    demo_input.import_files(htj2k.files, name=HTJ2K, s3=s3, client=client)
    assigned = [kind for kind in room.kinds if kind is not room.prior]
    reader = stack.provider.reads
    for kind, origin_id in (*((kind, "archive") for kind in assigned), (htj2k, DATASTORE_ID)):
        assign(
            kind.study_instance_uid,
            assignment_id=kind.name,
            origin_id=origin_id,
            assigned_to=reader,
        )
    notices = {kind.name: notice_of(kind.name) for kind in (*assigned, htj2k)}
    assert {notice.reason for notice in notices.values()} == {"warm"}
    return notices


def _assert_is_off(url: str) -> None:
    host, port = url.split("/")[2].split(":")
    with socket.socket() as probe:
        assert probe.connect_ex((host, int(port))) != 0


def expected(kind: Kind, frame: tuple[str, int]) -> str:
    """The digest of a frame's pixels in modality units, which is what OHIF holds."""
    sop, number = frame
    [path] = [
        path
        for path in kind.files
        if pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID == sop
    ]
    dataset = pydicom.dcmread(path)
    pixels = _pixels(dataset)
    if "NumberOfFrames" in dataset:
        pixels = pixels[number - 1]
    slope, intercept = _rescale(dataset)
    values = np.round(pixels.astype(np.float64) * slope + intercept).astype("<i4")
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def _pixels(dataset: pydicom.Dataset) -> NDArray[Any]:
    """The stored values; compressed ones by another codec than the viewer's."""
    decode = {
        JPEGLSLossless: imagecodecs.jpegls_decode,
        JPEG2000Lossless: imagecodecs.jpeg2k_decode,
    }.get(dataset.file_meta.TransferSyntaxUID)
    if decode is None:
        return dataset.pixel_array
    return np.asarray(decode(get_frame(dataset.PixelData, 0, number_of_frames=1)))


def _rescale(dataset: pydicom.Dataset) -> tuple[float, float]:
    held = dataset
    if "SharedFunctionalGroupsSequence" in dataset:
        [shared] = dataset.SharedFunctionalGroupsSequence
        [held] = shared.PixelValueTransformationSequence
    return float(held.RescaleSlope), float(held.RescaleIntercept)


@pytest.mark.parametrize(
    ("name", "frames"),
    [("ct", 9), ("mammogram", 4), ("enhanced-ct", 9), ("jpeg-ls", 9), ("jpeg-2000", 9), (HTJ2K, 3)],
)
def test_a_study_is_shown_as_it_was_taken(
    node: WarmNode, name: str, frames: int, tmp_path: Path
) -> None:
    kind = node.kind(name)
    address = f"{node.url}/viewer?StudyInstanceUIDs={kind.study_instance_uid}"

    def frames_came() -> bool:
        came = [one for one in page.seen.exchanges.values() if "/frames/" in one.url]
        return len({one.url for one in came if one.ended_at}) == frames

    before = node.archive_requests.count("GetImageFrame")
    with reader(address, tmp_path / f"{name}.png", issuer=node.issuer) as page:
        [shown] = look(page, viewports=1)
        page.until(frames_came, "all frames", within_s=SHOWN_WITHIN_S)

        assert shown.digest == expected(kind, shown.frame)
        assert_nothing_went_wrong(page, node.url, issuer=node.issuer)
    assert node.archive_requests.count("GetImageFrame") == before


def test_the_link_of_a_notice_hangs_the_study_beside_its_best_prior(
    node: WarmNode, tmp_path: Path
) -> None:
    current, prior = node.room.ct, node.room.prior

    link = viewer_link(node.url, node.notices["ct"])
    with reader(link, tmp_path / "beside.png", issuer=node.issuer) as page:
        left, right, *_ = look(page, viewports=2)

        assert current.study_instance_uid in left.image
        assert prior.study_instance_uid in right.image
        assert left.digest == expected(current, left.frame)
        assert right.digest == expected(prior, right.frame)
        assert_nothing_went_wrong(page, node.url, issuer=node.issuer)


def test_the_status_page_fits_a_telephone_and_names_what_is_warm(
    node: WarmNode, tmp_path: Path
) -> None:
    with open_browser() as page:
        bearer = {"Authorization": f"Bearer {node.operator}"}
        page.call("Network.setExtraHTTPHeaders", headers=bearer)
        for scheme in ("light", "dark"):
            page.size(400, 800, scheme=scheme)
            page.open(f"{node.url}/status")
            page.until(
                lambda: page.evaluate("document.readyState === 'complete' && !!document.body"),
                "the page",
                within_s=10,
            )
            page.screenshot(tmp_path / f"status-{scheme}.png")
            assert page.evaluate("document.documentElement.scrollWidth") <= 400
        text = page.evaluate("document.body.innerText")

    assert text.count("proven warm") >= len(node.notices)
    assert_nothing_went_wrong(page, node.url, issuer=node.issuer)


def test_up_prints_a_link_that_opens(viewer: Path, tmp_path: Path) -> None:
    command = [str(COMMAND), "up", "--samples", "--viewer", str(viewer)]
    log = tmp_path / "up.log"
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        link = _link(log, process)
        assert "hangingProtocolId=@ohif/hpCompare" in link
        [issuer] = re.findall(r"^issuer of tokens +(\S+)$", log.read_text(), re.MULTILINE)
        with reader(link, tmp_path / "up.png", issuer=issuer) as page:
            left, right, *_ = look(page, viewports=2)
            assert_nothing_went_wrong(page, link.partition("/viewer")[0], issuer=issuer)
        pair = link.partition("StudyInstanceUIDs=")[2].partition("&")[0].split(",")
        assert [pair[0] in left.image, pair[1] in right.image] == [True, True]
    finally:
        process.send_signal(2)
        assert process.wait(30) == 0


def _link(log: Path, process: "subprocess.Popen[bytes]") -> str:
    ends = time.monotonic() + 120
    while time.monotonic() < ends:
        text = log.read_text()
        if found := re.search(r"\nOpen\n(\S+)\n", text):
            return found[1]
        assert process.poll() is None, text
        time.sleep(0.1)
    raise AssertionError(log.read_text())
