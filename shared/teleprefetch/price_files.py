"""A table of prices from a file that somebody names."""

from pathlib import Path

from teleprefetch.domain.warming_cost import Prices, prices_of
from teleprefetch.errors import InvalidPayloadError


def read_prices(path: Path | None, *, at: str) -> Prices:
    """The prices in a TOML file; without one the shipped ones.

    Raises:
        InvalidPayloadError: it cannot be read, or breaks their contract; names `at` and the key.
    """
    if path is None:
        return Prices()
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidPayloadError(f"{at}: not a readable text file") from error
    return prices_of(text, at=at)
