"""Generated parts of a page: each stands between two marks, and everything else is a person's."""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
DOCS: Final = ROOT / "shared/docs"
Blocks = Mapping[str, Callable[[], str]]
_BLOCK: Final = re.compile(
    r"(?P<begin><!-- generated: (?P<name>[A-Za-z0-9-]+) -->\n)(?P<text>.*?)(?P<end><!-- end -->\n)",
    re.DOTALL,
)


def named_in(page: str) -> list[str]:
    """The names of a page's generated parts, in their order."""
    return [found["name"] for found in _BLOCK.finditer(page)]


def filled(page: str, blocks: Blocks) -> str:
    """The page with each generated part as its generator writes it now.

    Raises:
        KeyError: a part is named that has no generator.
    """

    def one(found: re.Match[str]) -> str:
        return f"{found['begin']}\n{blocks[found['name']]().strip()}\n\n{found['end']}"

    return _BLOCK.sub(one, page)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table; cells may hold anything, bars included."""
    titles = [*head]
    lines = [_row(titles), _row("---" for _ in titles)]
    return "\n".join([*lines, *(_row(row) for row in rows)]) + "\n"


def code(text: object) -> str:
    """A word of a program; nothing for nothing."""
    return f"`{text}`" if str(text) else ""


def codes(words: Iterable[object]) -> str:
    """Words of a program, parted by commas."""
    return ", ".join(code(word) for word in words)


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text.strip()).replace("|", "\\|")
