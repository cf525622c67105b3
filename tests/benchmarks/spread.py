"""How far the rounds of a benchmark lie apart: beside a median, the least and the most."""

from collections.abc import Iterable


def spread(values: Iterable[float], digits: int = 3) -> list[float]:
    """The least and the most of some rounds."""
    found = [*values]
    return [round(min(found), digits), round(max(found), digits)]
