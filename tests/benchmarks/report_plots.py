"""Ratios against their bars as SVG, readable in the light and in the dark; nothing but text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape, quoteattr

_LEFT: Final = 330
_PLOT: Final = 380
_WIDTH: Final = _LEFT + _PLOT + 90
_ROW: Final = 26
_TOP: Final = 44
_SVG: Final = 'xmlns="http://www.w3.org/2000/svg" role="img"'
_STYLE: Final = """
  .t { font: 13px system-ui, sans-serif; fill: #1f2328 }
  .s { font: 11px system-ui, sans-serif; fill: #59636e }
  .held { fill: #1a7f37 } .missed { fill: #cf222e } .free { fill: #57606a }
  .bar { stroke: #1f2328; stroke-width: 2; stroke-dasharray: 3 2 }
  .span { stroke: #1f2328; stroke-width: 1.5 } .axis { stroke: #d1d9e0 }
  @media (prefers-color-scheme: dark) {
    .t { fill: #f0f6fc } .s { fill: #9198a1 } .held { fill: #3fb950 } .missed { fill: #f85149 }
    .free { fill: #9198a1 } .bar, .span { stroke: #f0f6fc } .axis { stroke: #3d444d }
  }
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a plot: its median, how far rounds lie apart, and its bar."""

    told: str
    value: float
    spread: tuple[float, float] | None = None
    bar: float | None = None
    is_held: bool | None = None


def plot(title: str, rows: Sequence[Row]) -> str:
    """The rows as horizontal bars from 0; a dashed line is what is asked, a thin one the rounds."""
    most = max(_reach(row) for row in rows) * 1.08 or 1.0
    height = _TOP + _ROW * len(rows) + 34
    size = f'width="{_WIDTH}" height="{height}"'
    words = "; ".join(f"{row.told}: {_number(row.value)}" for row in rows)
    lines = [
        f'<svg {_SVG} viewBox="0 0 {_WIDTH} {height}" {size} aria-label={quoteattr(title)}>',
        f"<title>{escape(title)}</title>",
        f"<desc>{escape(words)}</desc>",
        f"<style>{_STYLE}</style>",
        f'<text class="t" x="8" y="22" font-weight="600">{escape(title)}</text>',
    ]
    for number, row in enumerate(rows):
        lines += _drawn(row, _TOP + _ROW * number, most)
    foot = _TOP + _ROW * len(rows)
    lines.append(f'<line class="axis" x1="{_LEFT}" y1="{_TOP - 6}" x2="{_LEFT}" y2="{foot}"/>')
    legend = "bar: the median; thin line: the least to the most; dashed: what is asked"
    lines.append(f'<text class="s" x="8" y="{foot + 22}">{legend}</text>')
    return "\n".join([*lines, "</svg>", ""])


def _drawn(row: Row, top: int, most: float) -> list[str]:
    kind = {True: "held", False: "missed", None: "free"}[row.is_held]
    end = _x(row.value, most)
    middle = top + 8
    place = f'x="{_LEFT - 10}" y="{top + 13}" text-anchor="end"'
    size = f'width="{max(1, end - _LEFT):.1f}" height="16" rx="2"'
    lines = [
        f'<text class="t" {place}>{escape(row.told)}</text>',
        f'<rect class="{kind}" x="{_LEFT}" y="{top}" {size}/>',
    ]
    last = end
    if row.spread is not None:
        low, high = (_x(value, most) for value in row.spread)
        last = max(end, high)
        lines.append(
            f'<line class="span" x1="{low:.1f}" y1="{middle}" x2="{high:.1f}" y2="{middle}"/>'
        )
    if row.bar is not None:
        at = _x(row.bar, most)
        lines.append(
            f'<line class="bar" x1="{at:.1f}" y1="{top - 4}" x2="{at:.1f}" y2="{top + 20}"/>'
        )
        last = max(last, at) if abs(at - last) < 40 else last
    lines.append(f'<text class="s" x="{last + 6:.1f}" y="{top + 12}">{_number(row.value)}</text>')
    return lines


def _reach(row: Row) -> float:
    return max(row.value, row.bar or 0, *(row.spread or (0,)))


def _x(value: float, most: float) -> float:
    return _LEFT + _PLOT * value / most


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
