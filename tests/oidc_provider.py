"""The npm package oidc-provider as a process, where it is installed."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from teleprefetch.local.node_process import free_port
from tests.waiting import until

_ROOT = Path(__file__).resolve().parents[1]
_SCRIPT = _ROOT / "tests" / "e2e" / "oidc_provider.mjs"
HOW_TO_GET_IT = (
    "needs node and npm install oidc-provider@9.13.3; "
    "OIDC_PROVIDER_MODULES names the node_modules that it is in"
)


def skip_without_provider() -> tuple[str, Path]:
    """Node, and the folder of its packages; without them the test is skipped and says why."""
    node = shutil.which("node")
    modules = Path(os.environ.get("OIDC_PROVIDER_MODULES", _ROOT / "node_modules"))
    if node is None or not (modules / "oidc-provider").is_dir():
        pytest.skip(HOW_TO_GET_IT)
    return node, modules


@contextmanager
def run_provider(*, viewer_origin: str = "") -> Iterator[str]:
    """A provider on loopback; yields its address.

    With a viewer's origin it has the public client `ohif`, and a login page.
    """
    node, modules = skip_without_provider()
    port = free_port()
    arguments = [str(modules), str(port), *([viewer_origin] if viewer_origin else [])]
    process = subprocess.Popen(
        [node, str(_SCRIPT), *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until(lambda: _answers(port) or process.poll() is not None, "the provider")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
