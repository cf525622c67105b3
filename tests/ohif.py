"""OHIF in Chromium: opened by somebody who logs in, and what its viewports show."""

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from teleprefetch.local.login.people import READER
from tests.browser import Page, open_browser, skip_without_chromium
from tests.login import log_in

HOW_TO_GET_THE_VIEWER = (
    "needs the viewer: `uv run teleprefetch viewer DIR` once, then OHIF_VIEWER=DIR"
)
SHOWN_WITHIN_S = 60

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
NO_TOUR = "try { localStorage.setItem('shownTours', '[\"basicViewerTour\"]'); } catch (e) {}"


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


def skip_without_viewer() -> Path:
    """The folder of the built viewer; without it, the test is skipped and says how to get it."""
    skip_without_chromium()
    folder = os.environ.get("OHIF_VIEWER", "")
    if not folder or not (Path(folder) / "index.html").is_file():
        pytest.skip(HOW_TO_GET_THE_VIEWER)
    return Path(folder).resolve()


def look(page: Page, *, viewports: int) -> list[Shown]:
    """What is shown, by rows, once that many viewports have a picture."""

    def enough() -> list[Shown]:
        shown = viewports_of(page)
        return shown if sum(one.is_a_picture for one in shown) >= viewports else []

    return list(page.until(enough, "a picture", within_s=SHOWN_WITHIN_S))


def viewports_of(page: Page) -> list[Shown]:
    """What each viewport with an image shows, by rows."""
    return [Shown(**one) for one in json.loads(page.evaluate(_SHOWN))]


@contextlib.contextmanager
def reader(address: str, screenshot: Path, *, issuer: str) -> Iterator[Page]:
    """A browser of the reader's, who has opened an address and logged in."""
    with open_browser() as page:
        page.size(1400, 900)
        page.at_start(NO_TOUR)
        page.open(address)
        try:
            log_in(page, READER, issuer=issuer)
            yield page
        finally:
            page.screenshot(screenshot)


def assert_nothing_went_wrong(page: Page, node_url: str, *, issuer: str) -> None:
    exchanges = list(page.seen.exchanges.values())
    asked = [one for one in exchanges if not one.url.startswith(("data:", "blob:"))]
    assert [one.url for one in asked if not one.url.startswith((node_url, issuer))] == []
    # 0: not answered yet, or to a worker, whose trouble would be among the complaints.
    assert [one for one in asked if one.failure or one.status not in {0, 200, 204, 304}] == []
    from_node = [one for one in asked if one.url.startswith(node_url)]
    assert {one.method for one in from_node} == {"GET"}  # nothing is preflighted
    assert page.seen.complaints == []
