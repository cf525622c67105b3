"""Debian's Chromium without a window, driven over its DevTools pipe; no other package is needed.

The protocol: JSON messages, each ended by a zero byte, on file descriptors 3 and 4 of the browser
(`--remote-debugging-pipe`; chromium.org, "Chrome DevTools Protocol").
"""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

HOW_TO_GET_IT = "needs Chromium: apt-get install --no-install-recommends chromium fonts-dejavu-core"
_ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-sync",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)


def skip_without_chromium() -> str:
    """The path of Chromium; without it, the test is skipped and says how to get it."""
    binary = shutil.which("chromium")
    if binary is None:
        pytest.skip(HOW_TO_GET_IT)
    return binary


@dataclass
class Exchange:
    """A request that a page made and what came of it; times are seconds since the epoch."""

    url: str
    method: str
    asked_at: float
    answered_at: float = 0.0
    ended_at: float = 0.0
    status: int = 0
    size_bytes: int = 0
    failure: str = ""
    authorization: str = ""


@dataclass
class Seen:
    """What went on in the page since it was opened."""

    exchanges: dict[str, Exchange] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)
    clock_offset_s: float = 0.0

    def take(self, method: str, told: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            # The log has the machine's monotonic clock, and the time of day with requests alone.
            self.clock_offset_s = self.clock_offset_s or told["wallTime"] - told["timestamp"]
            asked = told["request"]
            self.exchanges[told["requestId"]] = Exchange(
                asked["url"],
                asked["method"],
                self._time(told),
                authorization=asked["headers"].get("Authorization", ""),
            )
        elif method == "Network.responseReceived" and told["requestId"] in self.exchanges:
            one = self.exchanges[told["requestId"]]
            one.status, one.answered_at = told["response"]["status"], self._time(told)
        elif method == "Network.loadingFinished" and told["requestId"] in self.exchanges:
            one = self.exchanges[told["requestId"]]
            one.ended_at, one.size_bytes = self._time(told), int(told["encodedDataLength"])
        elif method == "Network.loadingFailed" and told["requestId"] in self.exchanges:
            self.exchanges[told["requestId"]].failure = told["errorText"]
        elif method == "Runtime.exceptionThrown":
            details = told["exceptionDetails"]
            text = details.get("exception", {}).get("description", details["text"])
            self.complaints.append(f"exception: {text[:400]}")
        elif method == "Log.entryAdded" and told["entry"]["level"] == "error":
            entry = told["entry"]
            self.complaints.append(f"{entry['source']}: {entry['text'][:400]}")

    def _time(self, told: dict[str, Any]) -> float:
        return float(told["timestamp"]) + self.clock_offset_s


class Page:
    """One page of a browser of its own."""

    def __init__(self, to_browser: int, from_browser: int, *, watches: bool) -> None:
        self._to, self._from = to_browser, from_browser
        self._buffer = b""
        self._number = 0
        self._session = ""
        self.seen = Seen()
        self._answers: dict[int, dict[str, Any]] = {}
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Network", "Page", "Runtime", "Log") if watches else ("Page",):
            self.call(f"{domain}.enable")

    def call(self, command: str, **parameters: Any) -> dict[str, Any]:
        """A command of the protocol and its result."""
        self._number += 1
        message = {"id": self._number, "method": command, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._to, data) :]
        number = self._number
        ends = time.monotonic() + 60
        while number not in self._answers:
            assert time.monotonic() < ends, f"{command}: no answer"
            self._listen(1)
        answer = self._answers.pop(number)
        assert "error" not in answer, f"{command}: {answer['error']}"
        return dict(answer["result"])

    def size(self, width: int, height: int, *, scheme: str = "light") -> None:
        """Give the page these pixels, and the colours that a system set to `scheme` asks for."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        wish = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setEmulatedMedia", features=[wish])

    def at_start(self, script: str) -> None:
        """Run a script in every document before its own."""
        self.call("Page.addScriptToEvaluateOnNewDocument", source=script)

    def open(self, url: str) -> None:
        """Go to an address; what was seen before is forgotten."""
        self.seen = Seen()
        self.call("Page.navigate", url=url)

    def evaluate(self, expression: str) -> Any:
        """What an expression is worth in the page."""
        result = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def until(self, holds: Callable[[], Any], what: str, *, within_s: float) -> Any:
        """Wait while the page goes on, until something holds; its value."""
        ends = time.monotonic() + within_s
        while not (value := holds()):
            assert time.monotonic() < ends, f"{what}: not within {within_s} s"
            self._listen(0.1)
        return value

    def screenshot(self, path: Path) -> None:
        """Write what is to be seen, as PNG."""
        image = self.call("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(image))

    def _listen(self, for_s: float) -> None:
        ready, _, _ = select.select([self._from], [], [], for_s)
        if not ready:
            return
        came = os.read(self._from, 1 << 20)
        assert came, "the browser has ended"
        *messages, self._buffer = (self._buffer + came).split(b"\0")
        for message in map(json.loads, messages):
            if "id" in message:
                self._answers[message["id"]] = message
            else:
                self.seen.take(message["method"], message["params"])


@contextmanager
def open_browser(*, arguments: Sequence[str] = (), watches: bool = True) -> Iterator[Page]:
    """A fresh browser with an empty profile; yields its page.

    A page that `watches` fills `seen`, which takes a good part of a core while much goes on.
    """
    binary = skip_without_chromium()
    reads_here, writes_there = os.pipe()
    reads_there, writes_here = os.pipe()
    with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as profile:
        # The shell gives the pipe's ends the numbers that Chromium wants.
        shell = f'exec "$@" 3<&{reads_there} 4>&{writes_there}'
        command = ["bash", "-c", shell, "bash", binary, *_ARGUMENTS, *arguments]
        process = subprocess.Popen(
            [*command, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(reads_there, writes_there),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(reads_there)
        os.close(writes_there)
        try:
            page = Page(writes_here, reads_here, watches=watches)
            yield page
            with contextlib.suppress(AssertionError, BrokenPipeError):
                page.call("Browser.close")
        finally:
            _end(process)
            os.close(reads_here)
            os.close(writes_here)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Wait for the browser to go; else end its own group of processes."""
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.wait()
