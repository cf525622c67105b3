"""OHIF in Chromium reads from a warm node while every archive is switched off.

What it shows is compared with the files: the pixels that its codecs made of what the node sent.
"""

import contextlib
import hashlib
import json
import os
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
from teleprefetch.local.reading import assign, notice_of, viewer_link
from teleprefetch.local.stack import DATASTORE_ID, LocalStack, StackOptions
from tests.browser import Page, open_browser, skip_without_chromium
from tests.orthanc import run_orthanc, skip_without_orthanc, store
from tests.reading_room import Kind, ReadingRoom, furnish, small_ct

COMMAND = Path(sys.executable).parent / "teleprefetch"
HOW_TO_GET_THE_VIEWER = (
    "needs the viewer: `uv run teleprefetch viewer DIR` once, then OHIF_VIEWER=DIR"
)
HTJ2K = "htj2k"
_SHOWN_WITHIN_S = 60

# What each viewport shows: whose frame it is, and what the viewer decoded, as 32-bit numbers.
_SHOWN = """
(async () => {
  const shown = [];
  for (const element of window.cornerstone?.getEnabledElements() ?? []) {
    const view = element.viewport;
    const image = view.getCornerstoneImage?.(), name = view.getCurrentImageId?.();
    if (!image || !name) continue;
    const place = view.canvas.getBoundingClientRect();
    const values = Int32Array.from(image.getPixelData());
    const digest = await crypto.subtle.digest('SHA-256', values.buffer);
    const canvas = document.createElement('canvas');
    canvas.width = canvas.height = 64;
    const pen = canvas.getContext('2d');
    pen.drawImage(view.canvas, 0, 0, 64, 64);
    const lights = pen.getImageData(0, 0, 64, 64).data.filter((_, at) => at % 4 === 0);
    shown.push({
      image: name, place: [place.top, place.left],
      digest: [...new Uint8Array(digest)].map((b) => b.toString(16).padStart(2, '0')).join(''),
      bright: lights.filter((light) => light > 25).length, levels: new Set(lights).size,
    });
  }
  return JSON.stringify(shown.sort((a, b) => a.place[0] - b.place[0] || a.place[1] - b.place[1]));
})()
"""
_NO_TOUR = "try { localStorage.setItem('shownTours', '[\"basicViewerTour\"]'); } catch (e) {}"


@dataclass(frozen=True)
class Shown:
    """One viewport with an image."""

    image: str
    place: tuple[float, float]
    digest: str
    bright: int
    levels: int

    @property
    def is_a_picture(self) -> bool:
        """Not blank, and not one grey."""
        return self.bright > 200 and self.levels >= 16

    @property
    def frame(self) -> tuple[str, int]:
        """Its SOP instance and frame number."""
        parts = self.image.partition("/instances/")[2].split("/")
        return parts[0], int(parts[2])


@dataclass(frozen=True)
class WarmNode:
    """A node that is warm with every kind of study, and nobody behind it."""

    url: str
    room: ReadingRoom
    htj2k: Kind
    notices: dict[str, Notice]
    archive_requests: Any

    def kind(self, name: str) -> Kind:
        return next(one for one in (*self.room.kinds, self.htj2k) if one.name == name)


@pytest.fixture(scope="module")
def viewer() -> Path:
    skip_without_chromium()
    folder = os.environ.get("OHIF_VIEWER", "")
    if not folder or not (Path(folder) / "index.html").is_file():
        pytest.skip(HOW_TO_GET_THE_VIEWER)
    return Path(folder).resolve()


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
        notices = _warm(room, htj2k)
        archive.close()
        _assert_is_off(url)
        stack.data_store.throttle_all()
        log = stack.data_store.request_log
        yield WarmNode(stack.node.url, room, htj2k, notices, log)


def _warm(room: ReadingRoom, htj2k: Kind) -> dict[str, Notice]:
    """Assign every study but the prior, which comes with the study that it is a prior of."""
    s3, client = boto3.client("s3"), boto3.client("medical-imaging")
    demo_input.import_files(htj2k.files, name=HTJ2K, s3=s3, client=client)
    assigned = [kind for kind in room.kinds if kind is not room.prior]
    for kind in assigned:
        assign(kind.study_instance_uid, assignment_id=kind.name, origin_id="archive")
    assign(htj2k.study_instance_uid, assignment_id=HTJ2K, origin_id=DATASTORE_ID)
    notices = {kind.name: notice_of(kind.name) for kind in (*assigned, htj2k)}
    assert {notice.reason for notice in notices.values()} == {"warm"}
    return notices


def _assert_is_off(url: str) -> None:
    host, port = url.split("/")[2].split(":")
    with socket.socket() as probe:
        assert probe.connect_ex((host, int(port))) != 0


def look(page: Page, *, viewports: int) -> list[Shown]:
    """What is shown, by rows, once that many viewports have a picture."""

    def pictures() -> list[Shown]:
        shown = [Shown(**one) for one in json.loads(page.evaluate(_SHOWN))]
        return shown if sum(one.is_a_picture for one in shown) >= viewports else []

    return list(page.until(pictures, "a picture", within_s=_SHOWN_WITHIN_S))


@contextlib.contextmanager
def reader(address: str, screenshot: Path) -> Iterator[Page]:
    with open_browser() as page:
        page.size(1400, 900)
        page.at_start(_NO_TOUR)
        page.open(address)
        try:
            yield page
        finally:
            page.screenshot(screenshot)


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


def assert_nothing_went_wrong(page: Page, node_url: str) -> None:
    exchanges = list(page.seen.exchanges.values())
    asked = [one for one in exchanges if not one.url.startswith(("data:", "blob:"))]
    assert [one.url for one in asked if not one.url.startswith(node_url)] == []
    # 0: not answered yet, or to a worker, whose trouble would be among the complaints.
    assert [one for one in asked if one.failure or one.status not in {0, 200, 204, 304}] == []
    assert {one.method for one in asked} == {"GET"}  # nothing is preflighted
    assert page.seen.complaints == []


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
    with reader(address, tmp_path / f"{name}.png") as page:
        [shown] = look(page, viewports=1)
        page.until(frames_came, "all frames", within_s=_SHOWN_WITHIN_S)

        assert shown.digest == expected(kind, shown.frame)
        assert_nothing_went_wrong(page, node.url)
    assert node.archive_requests.count("GetImageFrame") == before


def test_the_link_of_a_notice_hangs_the_study_beside_its_best_prior(
    node: WarmNode, tmp_path: Path
) -> None:
    current, prior = node.room.ct, node.room.prior

    with reader(viewer_link(node.url, node.notices["ct"]), tmp_path / "beside.png") as page:
        left, right, *_ = look(page, viewports=2)

        assert current.study_instance_uid in left.image
        assert prior.study_instance_uid in right.image
        assert left.digest == expected(current, left.frame)
        assert right.digest == expected(prior, right.frame)
        assert_nothing_went_wrong(page, node.url)


def test_the_status_page_fits_a_telephone_and_names_what_is_warm(
    node: WarmNode, tmp_path: Path
) -> None:
    with open_browser() as page:
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
    assert_nothing_went_wrong(page, node.url)


def test_up_prints_a_link_that_opens(viewer: Path, tmp_path: Path) -> None:
    command = [str(COMMAND), "up", "--samples", "--viewer", str(viewer)]
    log = tmp_path / "up.log"
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        link = _link(log, process)
        assert "hangingProtocolId=@ohif/hpCompare" in link
        with reader(link, tmp_path / "up.png") as page:
            left, right, *_ = look(page, viewports=2)
            assert_nothing_went_wrong(page, link.partition("/viewer")[0])
        pair = link.partition("StudyInstanceUIDs=")[2].partition("&")[0].split(",")
        assert [pair[0] in left.image, pair[1] in right.image] == [True, True]
    finally:
        process.send_signal(2)
        assert process.wait(30) == 0


def _link(log: Path, process: "subprocess.Popen[bytes]") -> str:
    ends = time.monotonic() + 120
    while time.monotonic() < ends:
        text = log.read_text()
        if "\nOpen\n" in text and text.endswith("\n"):
            return text.partition("\nOpen\n")[2].strip()
        assert process.poll() is None, text
        time.sleep(0.1)
    raise AssertionError(log.read_text())
