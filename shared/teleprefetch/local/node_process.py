"""A cache node as a process of its own, so that it can be killed as nodes are."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import urllib3

_READY_WITHIN_S: Final = 20
_ENDED_WITHIN_S: Final = 30


class NodeProcess:
    """One node on this machine; it keeps its store and its address when started again.

    Args:
        name: the node's.
        folder: where its store is.
        environment: its settings, besides those that follow from the other arguments.
        log_path: where its output goes.
        port: of loopback; 0 takes one that is free.
        bearer: the token of an operator, who may see what the node holds; None sends none.
    """

    def __init__(
        self,
        *,
        name: str,
        folder: Path,
        environment: dict[str, str],
        log_path: Path,
        port: int = 0,
        bearer: Callable[[], str] | None = None,
    ) -> None:
        self.name = name
        self.port = port or free_port()
        self._bearer = bearer
        self.url = f"http://127.0.0.1:{self.port}"
        self._log_path = log_path
        self._environment = environment | {
            "NODE": name,
            "PORT": str(self.port),
            "STORE_PATH": str(folder),
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process and wait until it answers.

        Raises:
            RuntimeError: it ended, or does not answer in time; its log says why.
        """
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "teleprefetch.edge"],
                env=os.environ | self._environment,
                stdout=log,
                stderr=log,
            )
        ends = time.monotonic() + _READY_WITHIN_S
        while not self._answers():
            if not self.is_running or time.monotonic() > ends:
                self.kill()
                raise RuntimeError(f"{self.name} did not start: {self._last_words()}")
            time.sleep(0.05)

    def kill(self) -> None:
        """End the process as a power cut would, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """Ask the process to end, and wait for it."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_ENDED_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def holdings(self) -> Any:
        """What the node says it holds, and has verified."""
        headers = {} if self._bearer is None else {"Authorization": f"Bearer {self._bearer()}"}
        answer = urllib3.request(
            "GET", f"{self.url}/warm", headers=headers, timeout=10, retries=False
        )
        if answer.status != 200:
            raise RuntimeError(f"{self.name} answers {answer.status}")
        return json.loads(answer.data)

    def _answers(self) -> bool:
        try:
            answer = urllib3.request("GET", f"{self.url}/readyz", timeout=1, retries=False)
        except urllib3.exceptions.HTTPError:
            return False
        return answer.status == 200

    def _last_words(self) -> str:
        return self._log_path.read_text(errors="replace")[-600:]


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
