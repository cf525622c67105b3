"""The command `teleprefetch console`."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from teleprefetch.errors import InvalidPayloadError
from teleprefetch.operate.commands import StackName, open_site
from teleprefetch.operate.present import PROBLEM, answered
from teleprefetch.price_files import read_prices


def console(
    stack: StackName = None,
    host: Annotated[str, typer.Option(help="Where it listens.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port.")] = 8090,
    audit: Annotated[
        list[Path],
        typer.Option(
            help="A node's audit folder, or a copy: who opened what, hit rate, waste. Repeatable."
        ),
    ] = [],  # noqa: B006 - typer's way
    is_copy: Annotated[
        bool, typer.Option("--copy", help="The audits are copies; reading is not recorded.")
    ] = False,
    prices: Annotated[
        Path | None, typer.Option(help="TOML of prices, as of `teleprefetch worth --prices`.")
    ] = None,
) -> None:
    """Serve the operators' console, until Ctrl-C: what is under way, why, replays, rules, worth.

    Operators log in at the issuer that CONSOLE_LOGIN names; TOKEN_ISSUERS and ROLE_GROUPS are as at
    the nodes. Beyond this machine it needs TLS in front, and CONSOLE_URL. Exit code 0: ended. 1: it
    cannot listen there. 2: an option or a setting is not what it should be.
    """

    def act() -> int:
        try:
            import uvicorn

            from teleprefetch.console.opening import open_console
            from teleprefetch.console.settings import console_settings
        except ImportError as error:
            raise InvalidPayloadError(
                "console: needs `pip install teleprefetch[console]`"
            ) from error

        settings = console_settings(os.environ)
        named = f"[{host}]" if ":" in host else host
        url = settings.console_url or f"http://{named}:{port}"
        site = open_site(stack)
        opened = open_console(
            site, settings, url=url, audits=tuple(audit), are_copies=is_copy,
            prices=read_prices(prices, at="--prices"),
        )  # fmt: skip
        with opened as app:
            # its access log would hold studies' UIDs
            config = uvicorn.Config(
                app, host=host, port=port, access_log=False, log_level="warning",
                server_header=False, timeout_graceful_shutdown=10,
            )  # fmt: skip
            typer.echo(f"The console is at\n{url}/\nCtrl-C ends it.")
            server = uvicorn.Server(config)
            with suppress(KeyboardInterrupt):  # which uvicorn passes on once it has ended
                server.run()
            return 0 if server.started else PROBLEM

    answered(act)
