"""Who asks, where a proxy stands before the node: what a trusted one says of its own client."""

import ipaddress
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_HEADER: Final = "x-forwarded-for"
_MOST_REMEMBERED: Final = 4096


class Proxies:
    """The proxies that are believed, by the networks they are in; none believes nobody.

    Each proxy adds the address that it was asked from at the end of X-Forwarded-For (Elastic Load
    Balancing user guide, "X-Forwarded-For", mode append). So it is read from its end, over those
    who are trusted themselves; whatever stands before the first who is not, anybody may have
    written.
    """

    def __init__(self, networks: Iterable[Network] = ()) -> None:
        self._networks = tuple(networks)
        self._is_trusted = lru_cache(_MOST_REMEMBERED)(self._is_in_a_network)

    def client_of(self, peer: str, headers: Mapping[str, str]) -> str:
        """The address of who asks: the peer's, unless it is a proxy that names another.

        A malformed entry ends the search: the one who wrote it is the last that is known.
        """
        if not self._networks or not self._is_trusted(peer):
            return peer
        client = peer
        for said in reversed(headers.get(_HEADER, "").split(",")):
            address = _address(said)
            if address is None:
                break
            client = address
            if not self._is_trusted(address):
                break
        return client

    def _is_in_a_network(self, address: str) -> bool:
        parsed = ipaddress.ip_address(address)
        return any(parsed.version == one.version and parsed in one for one in self._networks)


def _address(said: str) -> str | None:
    """An address in its one form, without the port that some proxies add; None if it is none."""
    text = said.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    if "%" in text:
        return None  # a zone is any text, and means nothing beyond its own machine (RFC 4007 6)
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None
