"""The node's status as a page and as JSON; the page needs nothing but itself."""

import base64
import hashlib
import ipaddress
from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape
from typing import Final

from teleprefetch.domain.policy.access import Action
from teleprefetch.edge.dicomweb.messages import Request, Response
from teleprefetch.edge.watching.status import NodeStatus, RecentOrder, StatusSource, WarmStudy

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1b1f24; --ground: #fff; --line: #c4cad2; --soft: #57606a;
  --good: #116329; --bad: #a40e26; --bar: #0b5cad; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --ground: #14171b; --line: #3d444d;
  --soft: #9aa4af; --good: #5fd07a; --bad: #ff8f8f; --bar: #6cb2ff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 64rem; padding: 1rem; background: var(--ground);
  color: var(--ink); font: 1rem/1.45 system-ui, sans-serif; }
h1 { font-size: 1.4rem; margin: 0; } h2 { font-size: 1.1rem; margin: 1.8rem 0 .4rem; }
p { margin: .3rem 0; } a { color: var(--bar); } .soft { color: var(--soft); }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(8rem, 1fr)); gap: .8rem;
  margin: 1rem 0; } dt { color: var(--soft); } dd { margin: 0; font-size: 1.2rem; }
.bar { height: .6rem; border: 1px solid var(--line); } .bar rect { fill: var(--bar); }
.bar { width: 100%; display: block; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: .35rem .5rem .35rem 0;
  border-bottom: 1px solid var(--line); } th { font-weight: 600; }
td.n, th.n { text-align: right; }
.wide { padding-left: 1rem; } code { font-size: .9em; overflow-wrap: anywhere; }
.good { color: var(--good); } .bad { color: var(--bad); }
@media (max-width: 34rem) { body { padding: .7rem; font-size: .9rem; } .wide { display: none; } }
"""
_HEADERS: Final = (
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    (
        "Content-Security-Policy",
        "default-src 'none'; style-src 'sha256-"
        + base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
        + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
)
_PATHS: Final = frozenset({"/status", "/status.json"})
_NAME_LENGTH: Final = 18
_STATES: Final = {"warming": "warming", "warm": "proven warm", "partial": "partly warm"}


class StatusPage:
    """Answers `/status` and `/status.json`.

    Args:
        source: makes the status.
        shows_uid_endings: whether a client on this machine, and no proxy's, may see the last
            digits of UIDs; everybody else sees digests alone.
    """

    def __init__(self, source: StatusSource, *, shows_uid_endings: bool = False) -> None:
        self._source = source
        self._shows_uid_endings = shows_uid_endings

    def action_at(self, path: str) -> Action | None:
        """Operators alone may see the page."""
        return "status" if path in _PATHS else None

    def answer(self, request: Request) -> Response | None:
        """The page, or the same as JSON, or None if the address is neither; reads the store."""
        if request.path not in _PATHS:
            return None
        status = self._source.status(with_uid_endings=self._shows_uid_endings and _is_here(request))
        if request.path == "/status.json":
            content, media_type = status.model_dump_json().encode(), "application/json"
        else:
            content, media_type = page(status).encode(), "text/html; charset=utf-8"
        return Response(200, (("Content-Type", media_type), *_HEADERS), (content,))


def _is_here(request: Request) -> bool:
    forwarded = {"forwarded", "x-forwarded-for", "via"} & request.headers.keys()
    return not forwarded and ipaddress.ip_address(request.client).is_loopback


def page(status: NodeStatus) -> str:
    """The status as HTML."""
    name = escape(status.node)
    takes = (
        '<span class="good">takes orders</span>'
        if status.takes_orders
        else '<span class="bad">takes no orders</span>'
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{name}: status</title><style>{_STYLE}</style></head><body>"
        f"<header><h1>Node {name}</h1><p>{takes}, {_time(status.at)}. "
        '<a href="/status">Refresh</a> · <a href="/status.json">the same as JSON</a></p></header>'
        f"<main>{_figures(status)}{_orders(status.orders)}{_studies(status)}</main></body></html>\n"
    )


def _figures(status: NodeStatus) -> str:
    store, served = status.store, status.served
    rate = "no request yet" if served.hit_rate is None else f"{100 * served.hit_rate:.1f} %"
    full = f"{100 * store.share:.1f} %"
    figures = (
        ("Full", f"{full} of {_size(store.limit_bytes)}"),
        ("Studies", f"{store.studies:,}"),
        ("Series", f"{store.series:,}"),
        ("Hit rate", rate),
        ("Hits, misses", f"{served.hits:,}, {served.misses:,}"),
    )
    width = min(100.0, 100 * store.share)
    return (
        "<dl>"
        + "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in figures)
        + f'</dl><svg class="bar" role="img" aria-label="{full} full" viewBox="0 0 100 1"'
        f' preserveAspectRatio="none"><rect width="{width:.2f}" height="1"/></svg>'
    )


def _orders(orders: Sequence[RecentOrder]) -> str:
    if not orders:
        return "<h2>Last orders</h2><p>None yet.</p>"
    head = _row("th", ("Order", ""), ("State", ""), ("For", ""), ("Frames", "n"), ("When", "wide"))
    return f"<h2>Last orders</h2>{_table('Last orders, newest first', head, map(_order, orders))}"


def _order(order: RecentOrder) -> str:
    tone = {"warm": "good", "partial": "bad"}.get(order.state, "")
    why = f'<br><span class="soft">{escape(order.problems[0])}</span>' if order.problems else ""
    priors = f"{order.priors} prior{'' if order.priors == 1 else 's'}"
    study = f"<code>{order.study}</code>" if order.study else "no study"
    return _row(
        "td",
        (_short(order.order), ""),
        (f'<span class="{tone}">{_STATES[order.state]}</span>{why}', ""),
        (f"{study} and {priors}", ""),
        (f"{order.frames_verified:,} of {order.frames_planned:,}", "n"),
        (_time(order.reported_at), "wide"),
    )


def _studies(status: NodeStatus) -> str:
    if not status.studies:
        return "<h2>What is warm</h2><p>Nothing yet.</p>"
    head = _row(
        "th", ("Study", ""), ("For", ""), ("Frames verified", "n"), ("Size", "n"), ("Since", "wide")
    )
    more = status.studies_not_listed
    left_out = f'<p class="soft">and {more:,} more studies, older</p>' if more else ""
    table = _table("Studies held, newest first", head, map(_study, status.studies))
    return f"<h2>What is warm</h2>{table}{left_out}"


def _study(study: WarmStudy) -> str:
    ending = f" …{escape(study.uid_ending)}" if study.uid_ending else ""
    modalities = escape(", ".join(study.modalities))
    whom = f"{study.role} of {_short(study.order)}" if study.order else "no recent order"
    complete = "good" if study.frames_verified == study.frames_held else ""
    return _row(
        "td",
        (f'<code>{study.study}</code>{ending}<br><span class="soft">{modalities}</span>', ""),
        (whom, ""),
        (
            f'<span class="{complete}">{study.frames_verified:,} of {study.frames_held:,}</span>',
            "n",
        ),
        (_size(study.size_bytes), "n"),
        (_time(study.stored_at), "wide"),
    )


def _table(caption: str, head: str, rows: Iterable[str]) -> str:
    return (
        f'<table aria-label="{caption}"><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table>'
    )


def _row(cell: str, *cells: tuple[str, str]) -> str:
    scope = ' scope="col"' if cell == "th" else ""
    return (
        "<tr>"
        + "".join(
            f"<{cell}{scope}{f' class={kind}' if kind else ''}>{content}</{cell}>"
            for content, kind in cells
        )
        + "</tr>"
    )


def _short(order: str) -> str:
    """An order's name; they are digests, and their beginning tells them apart."""
    shown = order if len(order) <= _NAME_LENGTH else f"{order[:_NAME_LENGTH]}…"
    return f'<code title="{escape(order)}">{escape(shown)}</code>'


def _time(at: datetime) -> str:
    text = f"{at:%Y-%m-%d %H:%M:%S} UTC"
    return f'<time datetime="{at.isoformat()}">{text}</time>'


def _size(size_bytes: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= size:
            return f"{size_bytes / size:,.1f} {unit}"
    return f"{size_bytes} B"
