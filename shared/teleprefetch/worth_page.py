"""The worth report as one page to print: no script, nothing from elsewhere."""

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any, Final

from teleprefetch.domain.warming_cost import Prices, dollars

_MB: Final = 1_000_000
_STYLE: Final = """
:root { color-scheme: light dark }
body { font: 1rem/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem }
table { border-collapse: collapse; width: 100% }
caption { text-align: left; padding-bottom: .5rem }
th, td { border-bottom: 1px solid #8888; padding: .4rem .6rem; text-align: right }
th:first-child, td:first-child { text-align: left }
meter { width: 6rem }
.scroll { overflow-x: auto }
@media print { body { margin: 0; max-width: none } }
"""
_HEADS: Final = (
    "studies", "MB warmed", "MB opened", "waste", "hit rate", "late studies", "wait saved",
    "requests", "MB moved", "promoted", "US$",
)  # fmt: skip


def page(
    rows: Sequence[dict[str, Any]],
    *,
    by: str,
    times: tuple[datetime | None, datetime | None],
    prices: Prices,
) -> str:
    """The page, with one line for each row of the report.

    Args:
        rows: the report's.
        by: what they are told by.
        times: from when to when; None is without an end.
        prices: what the costs were reckoned by.
    """
    heads = "".join(f'<th scope="col">{head}</th>' for head in (by, *_HEADS))
    body = "\n".join(_line(row) for row in rows)
    since, until = (at and f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}" for at in times)
    span = f"From {since or 'the beginning'} to {until or 'the end'} of the audit."
    priced = f"Prices: {prices.source}, as of {prices.read_on}."
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>What prefetching was worth</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>
<body><h1>What prefetching was worth</h1>
<p>{escape(span)} A hit is a frame that came from the store; waste was warmed and opened by nobody;
a study is late if an order had listed it and a reader still waited for the archive.
Requests are the archive's calls for warming, and the frames that readers waited for; promoted are
priors that reading may have brought out of its cheaper tier: what they cost is the most that it can
have been. {escape(priced)}</p>
<div class="scroll" tabindex="0" role="region" aria-label="Report"><table>
<caption>By {escape(by)}</caption><thead><tr>{heads}</tr></thead>
<tbody>
{body}
</tbody></table></div></body></html>
"""


def _line(row: dict[str, Any]) -> str:
    cells = (
        f"{row['warmed_studies']}",
        f"{row['warmed_bytes'] / _MB:,.1f}",
        f"{row['opened_bytes'] / _MB:,.1f}",
        _meter(row["waste"], "waste"),
        _meter(row["hit_rate"], "hit rate"),
        f"{row['late_studies']}",
        f"{row['wait_saved_s']:,.1f} s",
        f"{row['requests']:,}",
        f"{row['moved_bytes'] / _MB:,.1f}",
        f"{row['promoted_series']:,}",
        dollars(row["cost_usd"]),
    )
    cells_html = "".join(f"<td>{cell}</td>" for cell in cells)
    return f'<tr><th scope="row">{escape(row["group"])}</th>{cells_html}</tr>'


def _meter(share: float | None, label: str) -> str:
    if share is None:
        return "-"
    return f'<meter value="{share:.3f}" aria-label="{label}"></meter> {share:.1%}'
