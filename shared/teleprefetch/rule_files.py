"""A site's rules of relevance from a file that an operator names."""

from pathlib import Path

from teleprefetch.domain.rule_check import checked_rules
from teleprefetch.domain.rules import SiteRules
from teleprefetch.errors import InvalidPayloadError


def read_rules(path: Path, *, at: str) -> SiteRules:
    """The rules in a TOML file, checked as a site's own are.

    Raises:
        InvalidPayloadError: it cannot be read, or breaks their contract; names `at` and the key.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidPayloadError(f"{at}: not a readable text file") from error
    return checked_rules(text, at=at)
