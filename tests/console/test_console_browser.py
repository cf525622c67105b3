"""Each page of the console, and a replay, in Chromium: dark, light, narrow, by keyboard alone.

Accessibility is checked with axe-core, for WCAG 2.2 at level AA (https://www.deque.com/axe/).
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from teleprefetch.local.login.people import OPERATOR, READER
from teleprefetch.run_records import RunFilter
from tests.browser import Page, open_browser, skip_without_chromium
from tests.console.audits import an_audit
from tests.console.console_site import FAILED, STUDY, busy_site
from tests.console.running import Running, running_console
from tests.console.test_console_rules import CANDIDATES, NEVER_FILMS
from tests.login import log_in

AXE = "axe-core@4.14.1"
HOW_TO_GET_AXE = f"needs npm and the network for {AXE}, or AXE_CORE=path of its axe.min.js"
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
PAGES = {
    "now": "/",
    "find": "/find?since=24h",
    "study": f"/studies/{STUDY}",
    "nodes": "/nodes",
    "replay": "/replay",
    "act": f"/act?study={STUDY}",
    "rules": "/rules",
    "worth": "/worth?by=day",
}
LOOKS = {"light": (1280, "light"), "dark": (1280, "dark"), "narrow": (400, "light")}
WITHIN_S = 20


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The checker's source."""
    given = os.environ.get("AXE_CORE")
    if given:
        return Path(given).read_text()
    folder = tmp_path_factory.mktemp("axe")
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip(HOW_TO_GET_AXE)
    command = [npm, "install", "--no-save", "--no-audit", "--ignore-scripts", AXE]
    if subprocess.run(command, cwd=folder, capture_output=True, timeout=120).returncode:
        pytest.skip(HOW_TO_GET_AXE)
    return (folder / "node_modules/axe-core/axe.min.js").read_text()


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Page]]:
    """A console that an operator has open in a browser."""
    skip_without_chromium()
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        now = datetime.now(UTC)
        s3 = boto3.client("s3", region_name="us-east-1")
        s3.create_bucket(Bucket="documents")
        s3.put_object(
            Bucket="documents",
            Key="prefetch/p-1/candidates.json",
            Body=CANDIDATES.model_dump_json().encode(),
        )
        site = busy_site(now)
        site.use(BUDGET_BYTES=str(10**9))
        audit = an_audit(tmp_path_factory.mktemp("audit") / "node-a", now)
        with running_console(site, audits=(audit,)) as running, open_browser() as page:
            page.size(1280, 900)
            page.open(running.url)
            log_in(page, OPERATOR, issuer=running.issuer.url)
            arrived(page, running.url)
            yield running, page


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    """Where screenshots go: CONSOLE_SHOTS, to be looked at, or a folder that is thrown away."""
    folder = Path(os.environ.get("CONSOLE_SHOTS", tmp_path))
    folder.mkdir(exist_ok=True, parents=True)
    return folder


def arrived(page: Page, start: str) -> None:
    there = f"location.href.startsWith({start!r}) && document.readyState === 'complete'"
    page.until(lambda: page.evaluate(there), start, within_s=WITHIN_S)


def visit(page: Page, running: Running, path: str) -> None:
    page.open(running.url + path)
    arrived(page, running.url + path)


def press(page: Page, key: str, *, code: str | None = None, text: str = "") -> None:
    about = {"key": key, "code": code or key, "text": text}
    codes = {"Tab": 9, "Enter": 13, " ": 32}
    about["windowsVirtualKeyCode"] = str(codes.get(key, 0))
    known = {**about, "windowsVirtualKeyCode": codes.get(key, 0)}
    page.call("Input.dispatchKeyEvent", type="keyDown", **known)
    page.call("Input.dispatchKeyEvent", type="keyUp", **{**known, "text": ""})


def violations(page: Page, axe: str) -> list[str]:
    """What axe-core finds wrong in what is shown."""
    page.evaluate(f"{axe}; 0")
    options = {"runOnly": {"type": "tag", "values": TAGS}}
    found: list[dict[str, Any]] = page.evaluate(
        f"axe.run(document, {json.dumps(options)}).then((told) => told.violations)"
    )
    return [
        f"{one['id']}: {node['html'][:200]} ({node['failureSummary'][:300]})"
        for one in found
        for node in one["nodes"]
    ]


def whole(page: Page, width: int, path: Path) -> None:
    """Write the whole page as PNG."""
    height = page.evaluate("document.documentElement.scrollHeight")
    scheme = "dark" if "dark" in path.name else "light"
    page.size(width, min(4000, int(height)), scheme=scheme)
    page.screenshot(path)


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("look", LOOKS)
def test_a_page_is_accessible_and_fits(
    shown: tuple[Running, Page], axe: str, shots: Path, name: str, look: str
) -> None:
    running, page = shown
    width, scheme = LOOKS[look]
    page.size(width, 900, scheme=scheme)
    visit(page, running, PAGES[name])
    whole(page, width, shots / f"{name}-{look}.png")

    assert violations(page, axe) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.seen.complaints == []


def test_text_twice_as_large_still_fits_the_narrow_page(shown: tuple[Running, Page]) -> None:
    """WCAG 1.4.4 and 1.4.10: 200 %, and nothing to scroll in two directions at 320 px."""
    running, page = shown
    for path in PAGES.values():
        page.size(320, 900)
        visit(page, running, path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 320, path
        page.size(640, 900)
        page.evaluate("document.documentElement.style.fontSize = '200%'")
        assert page.evaluate("document.documentElement.scrollWidth") <= 640, path


def test_the_keyboard_reaches_everything_and_shows_where_it_is(shown: tuple[Running, Page]) -> None:
    running, page = shown
    page.size(1280, 900)
    visit(page, running, "/replay")
    seen = []
    for _ in range(60):
        press(page, "Tab")
        at = page.evaluate(
            "(() => { const one = document.activeElement, style = getComputedStyle(one);"
            " return [one.textContent.trim() || one.id || one.value,"
            " style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2]; })()"
        )
        seen.append(at)
        if at[0] == "Preview":
            break
    names = [name for name, _ in seen]
    assert names[0] == "Skip to the content"
    for wanted in ("Now", "Worth", "Log out", "what", "FAILED", "since", "Preview"):
        assert wanted in names
    assert [name for name, is_shown in seen if not is_shown] == []

    visit(page, running, "/")
    press(page, "Tab")
    press(page, "Enter", text="\r")
    at_main = "document.activeElement.id === 'main'"
    page.until(lambda: page.evaluate(at_main), "the content", within_s=WITHIN_S)


def test_now_looks_again_by_itself_keeps_its_place_and_can_be_paused(
    shown: tuple[Running, Page],
) -> None:
    running, page = shown
    visit(page, running, "/")
    page.evaluate("document.getElementById('live').dataset.live = '50'; 0")
    page.evaluate("document.querySelector('.cards a').focus(); 0")
    # the script plans its first look when it starts: let it look at once
    page.evaluate("document.dispatchEvent(new Event('visibilitychange')); 0")
    running.site.record(
        "live-1", outcome="warming", study_instance_uid="1.2.77", at=datetime.now(UTC)
    )
    there = "!!document.body?.textContent.includes('1.2.77')"
    page.until(lambda: page.evaluate(there), "what is new", within_s=WITHIN_S)
    assert page.evaluate("document.activeElement.matches('.cards a')")

    page.evaluate("document.getElementById('pause').click(); 0")
    assert "Paused" in page.evaluate("document.getElementById('live-state').textContent")
    assert page.evaluate("document.getElementById('pause').getAttribute('aria-pressed')") == "true"
    del running.site.runs.known["live-1"]


def test_a_replay_is_previewed_confirmed_and_recorded(
    shown: tuple[Running, Page], axe: str, shots: Path
) -> None:
    running, page = shown
    page.size(1280, 900)
    visit(page, running, f"/studies/{FAILED}")
    page.evaluate("document.querySelector('main form button').click(); 0")
    ready = "document.getElementById('reason') !== null"
    page.until(lambda: page.evaluate(ready), "the preview", within_s=WITHIN_S)
    assert "goes on where it failed" in page.evaluate("document.body.innerText")
    assert violations(page, axe) == []
    whole(page, 1280, shots / "preview-light.png")
    page.size(400, 900)
    whole(page, 400, shots / "preview-narrow.png")

    page.evaluate("document.querySelector('button.act').click(); 0")  # the browser asks for why
    assert page.evaluate("document.getElementById('reason').matches(':invalid')")
    assert running.site.histories.redriven == []

    page.evaluate("document.getElementById('reason').value = 'the archive was down'; 0")
    page.evaluate("document.querySelector('button.act').click(); 0")
    done = "!!document.body?.innerText.includes('Replays of 24 hours')"
    page.until(lambda: page.evaluate(done), "the replay", within_s=WITHIN_S)
    assert violations(page, axe) == []
    page.size(1280, 900)
    whole(page, 1280, shots / "replayed-dark.png")

    assert running.site.histories.redriven == ["p-2"]
    [record] = running.site.runs.find(RunFilter(kind="replay"), limit=9)
    assert record.by.endswith(f"#{OPERATOR.subject}")
    assert record.reason == "the archive was down"
    assert page.seen.complaints == []


def test_a_node_is_drained_from_its_card_after_a_preview_and_a_reason(
    shown: tuple[Running, Page], axe: str, shots: Path
) -> None:
    running, page = shown
    page.size(1280, 900)
    visit(page, running, "/nodes")
    page.evaluate("document.querySelector('button[value=drain]').click(); 0")
    ready = "document.getElementById('reason') !== null"
    page.until(lambda: page.evaluate(ready), "the preview", within_s=WITHIN_S)
    assert "gets no more orders" in page.evaluate("document.body.innerText")
    assert violations(page, axe) == []
    whole(page, 1280, shots / "act-preview-light.png")
    page.size(400, 900, scheme="dark")
    whole(page, 400, shots / "act-preview-narrow-dark.png")
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    assert running.site.nodes.drained() == {"node-b"}

    page.size(1280, 900)
    page.evaluate("document.querySelector('button.act').click(); 0")  # the browser asks for why
    assert page.evaluate("document.getElementById('reason').matches(':invalid')")
    page.evaluate("document.getElementById('reason').value = 'new disk'; 0")
    page.evaluate("document.querySelector('button.act').click(); 0")
    done = "!!document.body?.innerText.includes('Commands of 24 hours')"
    page.until(lambda: page.evaluate(done), "the drain", within_s=WITHIN_S)
    assert violations(page, axe) == []
    whole(page, 1280, shots / "acted-light.png")

    assert running.site.nodes.drained() == {"node-a", "node-b"}
    [record] = running.site.runs.find(RunFilter(kind="command"), limit=9)
    assert (record.cause, record.reason) == ("drain of node-a", "new disk")
    assert record.by.endswith(f"#{OPERATOR.subject}")
    assert page.seen.complaints == []
    running.site.nodes.undrain("node-a")


def test_rules_are_tried(shown: tuple[Running, Page], axe: str, shots: Path) -> None:
    running, page = shown
    page.size(1280, 900)
    visit(page, running, "/rules")
    page.evaluate(f"document.getElementById('rules').value = {json.dumps(NEVER_FILMS)}; 0")
    page.evaluate("document.querySelector('main form button').click(); 0")
    done = "!!document.body?.innerText.includes('under both sets of rules')"
    page.until(lambda: page.evaluate(done), "the trial", within_s=WITHIN_S)
    page.evaluate("document.querySelector('summary').click(); 0")
    assert "leaves" in page.evaluate("document.querySelector('details').innerText")
    assert violations(page, axe) == []
    whole(page, 1280, shots / "tried-light.png")


def test_who_is_no_operator_sees_a_page_that_says_so(
    shown: tuple[Running, Page], axe: str, shots: Path
) -> None:
    running, _ = shown
    with open_browser() as page:
        page.size(400, 700)
        page.open(running.url)
        log_in(page, READER, issuer=running.issuer.url)
        arrived(page, running.url)
        assert "for operators" in page.evaluate("document.querySelector('h1').textContent")
        assert violations(page, axe) == []
        page.screenshot(shots / "refused-narrow.png")
