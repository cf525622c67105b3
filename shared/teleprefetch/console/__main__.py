"""`python -m teleprefetch.console` is `teleprefetch console`."""

import typer

from teleprefetch.console.command import console

typer.run(console)
