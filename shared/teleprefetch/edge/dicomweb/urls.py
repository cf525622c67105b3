"""The node's own URLs, as its clients reach it."""

import re
from typing import Final

from teleprefetch.edge.dicomweb.messages import Request
from teleprefetch.errors import InvalidPayloadError

ROOT: Final = "/dicom-web"
_HOST: Final = re.compile(
    r"[A-Za-z0-9._-]{1,253}(:[0-9]{1,5})?|\[[0-9a-fA-F:.]{2,45}\](:[0-9]{1,5})?"
)
_SCHEMES: Final = frozenset({"http", "https"})


def root_of(request: Request, *, trusts_proxy: bool) -> str:
    """The base URL of the DICOMweb service.

    Args:
        request: its Host says how the client calls this node.
        trusts_proxy: whether a proxy's X-Forwarded-Host and -Proto go before that.

    Raises:
        InvalidPayloadError: the host is malformed.
    """
    host, scheme = request.headers.get("host", ""), request.scheme
    if trusts_proxy:
        host = _first(request, "x-forwarded-host") or host
        scheme = _first(request, "x-forwarded-proto").lower() or scheme
    if _HOST.fullmatch(host) is None or scheme not in _SCHEMES:
        raise InvalidPayloadError("host: malformed")
    return f"{scheme}://{host}{ROOT}"


def _first(request: Request, name: str) -> str:
    return request.headers.get(name, "").partition(",")[0].strip()
