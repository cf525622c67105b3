"""Column charts as SVG, made here; the table beside each says the same in figures."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

_WIDTH: Final = 360
_HEIGHT: Final = 190
_LEFT, _TOP, _BOTTOM = 54, 22, 34
_MOST_LABELS: Final = 7
_MOST_COLUMNS: Final = 60
_WIDEST: Final = 34.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column; None is a gap. `mark` is a second value, drawn as a line over it."""

    label: str
    value: float | None
    mark: float | None = None


def columns(title: str, told: Sequence[Column], *, unit: str, top: float | None = None) -> Markup:
    """A chart of the last sixty columns.

    Args:
        title: what it shows; readers of the screen hear it, and that the table has the figures.
        told: the columns, from left to right.
        unit: what stands behind the figures of the scale.
        top: the highest value of the scale; by default what is above every value.
    """
    shown = told[-_MOST_COLUMNS:]
    every = [value for one in shown for value in (one.value, one.mark) if value is not None]
    highest = top or _round_up(max(every, default=1.0))
    step = (_WIDTH - _LEFT) / max(1, len(shown))
    parts = [_line_of_scale(share, highest, unit) for share in (0, 0.5, 1)]
    for number, one in enumerate(shown):
        parts += _column(one, _LEFT + step * number, step, highest, unit, alone=len(shown) <= 8)
    every_nth = math.ceil(len(shown) / _MOST_LABELS)
    for number, one in enumerate(shown):
        if number % every_nth == 0:
            middle = _LEFT + step * (number + 0.5)
            parts.append(_text(middle, _HEIGHT - 14, _short(one.label), "middle"))
    return Markup(
        '<svg class="plot" role="img" aria-label="{}" viewBox="0 0 {} {}">{}</svg>'
    ).format(f"{title}; the table has the figures", _WIDTH, _HEIGHT, Markup("").join(parts))


def _column(
    one: Column, left: float, step: float, highest: float, unit: str, *, alone: bool
) -> list[Markup]:
    if one.value is None:
        return []
    width = min(step * 0.7, _WIDEST)
    x = left + (step - width) / 2
    y = _y(one.value, highest)
    parts = [
        Markup(
            '<rect class="column" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>'
        ).format(x, y, width, max(0.0, _HEIGHT - _BOTTOM - y))
    ]
    if one.mark is not None:
        at = _y(one.mark, highest)
        parts.append(
            Markup('<line class="mark" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>').format(
                x - 3, x + width + 3, at, at
            )
        )
    if alone:  # a figure over each, where there is room for one
        above = y if one.mark is None else min(y, _y(one.mark, highest))
        parts.append(_text(x + width / 2, above - 5, _figure(one.value, unit), "middle"))
    return parts


def _line_of_scale(share: float, highest: float, unit: str) -> Markup:
    y = _y(share * highest, highest)
    line = Markup('<line class="scale" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(
        _LEFT, _WIDTH, y, y
    )
    return line + _text(_LEFT - 5, y + 4, _figure(share * highest, unit), "end")


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(
        x, y, anchor, text
    )


def _y(value: float, highest: float) -> float:
    return _HEIGHT - _BOTTOM - min(1.0, value / highest) * (_HEIGHT - _BOTTOM - _TOP)


def _figure(value: float, unit: str) -> str:
    if unit == "%":
        return f"{value * 100:.0f}%"
    if 0 < value < 0.1:
        return f"{value:.2g} {unit}".rstrip()
    digits = 0 if value >= 10 or value == 0 else 1
    return f"{value:,.{digits}f} {unit}".rstrip()


def _short(label: str) -> str:
    """A day without its year, and any other name cut to what fits."""
    if len(label) == 10 and label[4] == "-" == label[7]:
        return label[5:]
    return label if len(label) <= 11 else f"{label[:10]}…"


def _round_up(value: float) -> float:
    """The next of 1, 2 or 5 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value)
