"""A console that is running: its real wiring, a made-up stack, and the local issuer."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from teleprefetch.console.opening import open_console
from teleprefetch.console.settings import console_settings
from teleprefetch.local.login.authorizing import AUDIENCE, READ
from teleprefetch.local.login.issuer import LocalIssuer
from teleprefetch.local.login.oauth import Client
from teleprefetch.local.node_process import free_port
from tests.waiting import until

CLIENT = "console"


@dataclass
class Running:
    url: str
    issuer: LocalIssuer
    site: Any
    audits: tuple[Path, ...]


def settings_for(issuer: str) -> dict[str, str]:
    """The console's variables for an issuer like the local one."""
    login = {"authority": issuer, "client_id": CLIENT, "scope": f"openid profile {READ}"}
    return {
        "TOKEN_ISSUERS": json.dumps([{"issuer": issuer, "audiences": [AUDIENCE]}]),
        "ROLE_GROUPS": json.dumps({issuer: {"readers": "reader", "operators": "operator"}}),
        "CONSOLE_LOGIN": json.dumps(login),
    }


@contextmanager
def running_console(
    site: Any, *, audits: tuple[Path, ...] = (), are_copies: bool = False, **changed: str
) -> Iterator[Running]:
    """A console on loopback, until the block is left."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with LocalIssuer() as issuer:
        issuer.register(
            Client(
                client_id=CLIENT,
                redirect_uris=frozenset({f"{url}/callback"}),
                after_logout_uris=frozenset(),
            )
        )
        settings = console_settings(settings_for(issuer.url) | changed)
        opened = open_console(site.as_site, settings, url=url, audits=audits, are_copies=are_copies)
        with opened as app, served(app, port):
            yield Running(url, issuer, site, audits)


@contextmanager
def served(app: Any, port: int) -> Iterator[None]:
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", access_log=False)
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started, "the console")
        yield
    finally:
        server.should_exit = True
        thread.join()
