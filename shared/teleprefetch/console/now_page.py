"""The page `Now`."""

from starlette.responses import Response

from teleprefetch.console.asking import Asked
from teleprefetch.console.under_way import under_way


def show(asked: Asked) -> Response:
    """What is under way; the page looks again by itself."""
    console = asked.console
    return asked.page("now.html", told=under_way(console.site, now=console.now()))
