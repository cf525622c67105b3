"""The operators' console of a local stack, as a process of its own."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import urllib3

from teleprefetch.errors import OriginUnavailableError
from teleprefetch.local.login.oauth import Client
from teleprefetch.local.stack import LocalStack

_CLIENT: Final = "console"
_READY_WITHIN_S: Final = 30


@contextmanager
def running_console(stack: LocalStack, *, token_path: Path) -> Iterator[str]:
    """The console of a stack that logs people in itself; yields its address.

    Args:
        stack: it runs.
        token_path: a file with an operator's token, by which the console asks the node.

    Raises:
        InvalidPayloadError: the stack's provider is an outside one.
        OriginUnavailableError: the console did not start; its log says why.
    """
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    url = f"http://127.0.0.1:{port}"
    stack.register(
        Client(
            client_id=_CLIENT,
            redirect_uris=frozenset({f"{url}/callback"}),
            after_logout_uris=frozenset(),
        )
    )
    command = [sys.executable, "-m", "teleprefetch.console", "--port", str(port)]
    log_path = stack.folder / "console.log"
    with log_path.open("ab") as log:
        process = subprocess.Popen(  # noqa: S603 - our own
            [*command, "--audit", str(stack.audit_folder)],
            env=os.environ | console_environment(stack, token_path=token_path),
            stdout=log,
            stderr=log,
        )
    try:
        _await(url, process)
        yield url
    finally:
        process.terminate()
        process.wait()


def console_environment(stack: LocalStack, *, token_path: Path) -> dict[str, str]:
    """The console's variables for a stack."""
    provider = stack.provider
    login = {
        "authority": provider.issuer,
        "client_id": _CLIENT,
        "scope": " ".join(("openid", "profile", *provider.needs)),
    }
    given = provider.node_variables()
    return (
        stack.environment
        | stack.operator_environment
        | {name: given[name] for name in ("TOKEN_ISSUERS", "ROLE_GROUPS")}
        | {"CONSOLE_LOGIN": json.dumps(login), "TELEPREFETCH_TOKEN_FILE": str(token_path)}
    )


def _await(url: str, process: "subprocess.Popen[bytes]") -> None:
    ends = time.monotonic() + _READY_WITHIN_S
    while time.monotonic() < ends and process.poll() is None:
        try:
            urllib3.request("GET", f"{url}/logged-out", timeout=1, retries=False)
        except urllib3.exceptions.HTTPError:
            time.sleep(0.1)
        else:
            return
    raise OriginUnavailableError("console: did not start; console.log of the stack says why")
