"""Opens the console by its settings."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from starlette.types import ASGIApp

from teleprefetch.adapters.keys import KeyRing
from teleprefetch.adapters.past_prefetches import PastOnS3
from teleprefetch.console.app import console_app
from teleprefetch.console.asking import Console
from teleprefetch.console.entrance import Entrance
from teleprefetch.console.jobs import Jobs
from teleprefetch.console.login import OpenIdClient
from teleprefetch.console.seal import Seal, key_of
from teleprefetch.console.sessions import Sessions
from teleprefetch.console.settings import ConsoleSettings, check_console_url
from teleprefetch.domain.tokens.verifier import Verifier
from teleprefetch.domain.warming_cost import Prices
from teleprefetch.edge.audit.reading import node_of
from teleprefetch.errors import InvalidPayloadError, PrefetchError
from teleprefetch.operate.site import Site, client

_LOG: Final = logging.getLogger(__name__)


def now() -> datetime:
    """The time, aware."""
    return datetime.now(UTC)


@contextmanager
def open_console(
    site: Site,
    settings: ConsoleSettings,
    *,
    url: str,
    audits: tuple[Path, ...],
    are_copies: bool = False,
    prices: Prices | None = None,
) -> Iterator[ASGIApp]:
    """The console of a stack; what it began has ended when it is left.

    Args:
        site: the stack.
        settings: the console's.
        url: where browsers reach it.
        audits: nodes' audit folders, or copies of them.
        are_copies: that they are read is not recorded.
        prices: what the archive costs; HealthImaging's examples, if not given.

    Raises:
        InvalidPayloadError: a setting cannot be used, or a folder holds no audit.
    """
    check_console_url(url)
    for folder in audits:
        _check_audit(folder)
    issuer = settings.issuer
    openid = OpenIdClient(settings.console_login, issuer, redirect_uri=f"{url}/callback")
    sessions = Sessions(
        Seal(key_of(settings.console_key_path)),
        is_tls=url.startswith("https:"),
        lasts_s=settings.console_session_s,
        clock=time.time,
    )
    keys = KeyRing([issuer], report=_report)
    entrance = Entrance(
        openid, Verifier([issuer], keys), role_groups=settings.role_groups, sessions=sessions
    )
    jobs = Jobs(now)
    past = PastOnS3(client("s3"), site.settings.documents_bucket)
    console = Console(
        site=site, sessions=sessions, jobs=jobs, past=past, audits=audits, are_copies=are_copies,
        now=now,
        sleep=time.sleep, prices=prices or Prices(),
    )  # fmt: skip
    _make_ports(site)
    keys.warm_up()
    try:
        yield console_app(console, entrance, url=url)
    finally:
        jobs.close()
        keys.close()


def _make_ports(site: Site) -> None:
    """Make what pages use before there are threads.

    A boto3 client may be used in several, the session that makes it may not (boto3's guide,
    "Session").
    """
    for name in (
        "runs", "progress", "assignments", "nodes", "documents", "histories", "node_http", "desk",
        "origins", "import_jobs", "image_set_changes",
    ):  # fmt: skip
        getattr(site, name)
    if site.settings.lookup_key_id:
        _ = site.lookup_keys


def _check_audit(folder: Path) -> None:
    try:
        node_of(folder)
    except PrefetchError as error:
        raise InvalidPayloadError("--audit: a folder without an audit") from error


def _report(_issuer: str, news: str) -> None:
    _LOG.warning("keys of the issuer of tokens: %s", news)
