"""A node's own words, over HTTP: whether it takes orders, what it holds, and its clock."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import urllib3

from teleprefetch.errors import AccessDeniedError, CorruptPayloadError, NodeUnavailableError

_WITHIN_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class NodeAnswer:
    """A status, the body if it is JSON, and the time on the node's clock if it says."""

    status: int
    document: Any
    said_at: datetime | None


class NodeHttp:
    """Asks nodes.

    Args:
        urls: their addresses by name.
        token: a bearer token for what only people may see; empty asks without.
    """

    def __init__(self, urls: Mapping[str, str], *, token: str = "") -> None:
        self._urls = urls
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._pool = urllib3.PoolManager(timeout=_WITHIN_S, retries=False)

    @property
    def known(self) -> frozenset[str]:
        """The nodes whose address is known."""
        return frozenset(self._urls)

    def ask(self, node: str, path: str) -> NodeAnswer:
        """What a node answers.

        Raises:
            NodeUnavailableError: its address is not known, or nobody answers there.
        """
        if node not in self._urls:
            raise NodeUnavailableError(f"{node}: not in NODE_URLS")
        try:
            answer = self._pool.request(
                "GET", self._urls[node] + path, headers=self._headers, redirect=False
            )
        except urllib3.exceptions.HTTPError as error:
            raise NodeUnavailableError(f"{node}: {type(error).__name__}") from error
        date = answer.headers.get("Date")
        return NodeAnswer(
            status=answer.status,
            document=_json(answer.data),
            said_at=parsedate_to_datetime(date) if date else None,
        )

    def frames_held(self, node: str, study_instance_uid: str) -> int:
        """How many frames of a study a node holds, each read back and proven.

        Raises:
            NodeUnavailableError: nobody answers.
            AccessDeniedError: it wants a token, or another.
            CorruptPayloadError: it answers something else.
        """
        answer = self.ask(node, f"/warm/studies/{study_instance_uid}")
        if answer.status == 404:
            return 0
        if answer.status in {401, 403}:
            raise AccessDeniedError(f"{node}: refuses the token")
        try:
            series = answer.document["series"] if answer.status == 200 else None
            return sum(int(one["frames_verified"]) for one in series or ())
        except (KeyError, TypeError, ValueError):
            raise CorruptPayloadError(f"{node}: /warm/studies is not what it should be") from None


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None
