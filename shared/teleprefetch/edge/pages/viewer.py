"""Serves a released viewer's files on the node's own origin, so that nothing is preflighted.

The folder is listed once; a request names an entry of that list or gets none, so no path that a
client writes is ever opened. Beside a file may lie the same in gzip, named `.gz`.
"""

import base64
import hashlib
import json
import mimetypes
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from teleprefetch.edge.dicomweb.messages import FileSlice, Request, Response
from teleprefetch.edge.pages.viewer_login import LOGGED_OUT_PAGE, login_origins, oidc_entry
from teleprefetch.errors import InvalidPayloadError
from teleprefetch.model import Value
from teleprefetch.settings import ViewerLogin

# What the node answers itself; there no name stands for the viewer's page.
_OURS: Final = frozenset({"dicom-web", "warm", "status", "healthz", "readyz", "metrics"})
PAGE: Final = "index.html"
CONFIG: Final = "app-config.js"
_MEDIA_TYPES: Final = {
    ".wasm": "application/wasm",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".jsonc": "application/json",
    ".svg": "image/svg+xml",
    ".ico": "image/x-icon",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
    ".onnx": "application/octet-stream",
}
# The name changes with the content: `app.bundle.0f6159c501addfe9.js`, `34b1e6b1deb5828e.wasm`.
_HASHED: Final = re.compile(r"(^|[./])[0-9a-f]{16,}\.[a-z0-9]+$")
_INLINE_SCRIPT: Final = re.compile(rb"<script>(.*?)</script>", re.DOTALL)
FOREVER: Final = "public, max-age=31536000, immutable"
ASK_AGAIN: Final = "no-cache"
_EVERYWHERE: Final = (
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
# Shared memory between the viewer's workers needs an isolated page (HTML 7.1.4, 7.1.5).
_ISOLATION: Final = (
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Embedder-Policy", "require-corp"),
)


class ViewerConfig(Value):
    """What the viewer is told: where the studies are, what they are called, and who logs in."""

    dicomweb_root: str = "/dicom-web"
    friendly_name: str = "teleprefetch"
    most_requests: int = 25
    login: ViewerLogin | None = None

    def script(self) -> bytes:
        """OHIF's `app-config.js`."""
        source = {
            "friendlyName": self.friendly_name,
            "name": "node",
            "qidoRoot": self.dicomweb_root,
            "wadoRoot": self.dicomweb_root,
            "wadoUriRoot": self.dicomweb_root,
            "qidoSupportsIncludeField": True,
            "imageRendering": "wadors",
            "thumbnailRendering": "wadors",
            "enableStudyLazyLoad": True,
            "supportsFuzzyMatching": False,
            "supportsWildcard": True,
            "omitQuotationForMultipartRequest": True,
            "bulkDataURI": {"enabled": True, "relativeResolution": "studies"},
        }
        config: dict[str, object] = {
            "routerBasename": "/",
            "extensions": [],
            "modes": [],
            "customizationService": {},
            "showStudyList": True,
            "maxNumberOfWebWorkers": 2,
            "investigationalUseDialog": {"option": "never"},
            "maxNumRequests": {
                "interaction": 100,
                "thumbnail": 75,
                "prefetch": self.most_requests,
            },
            "defaultDataSourceName": "dicomweb",
            "dataSources": [
                {
                    "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
                    "sourceName": "dicomweb",
                    "configuration": source,
                }
            ],
        }
        if self.login is not None:
            config["oidc"] = [oidc_entry(self.login)]
        return f"window.config = {json.dumps(config, indent=2)};\n".encode()


@dataclass(frozen=True, slots=True)
class Asset:
    """A file of a viewer: what it is, how long it holds, and the same in gzip if it is there."""

    path: Path
    media_type: str
    caching: str
    packed: Path | None


class ViewerFiles:
    """The files of one folder, answered by name; any other address is the viewer's page.

    Args:
        folder: a built viewer, such as OHIF's `dist`; it holds `index.html`.
        config: what `app-config.js` is made from; the folder's own is never served.

    Raises:
        InvalidPayloadError: the folder is no built viewer, or the login's address is odd.
    """

    def __init__(self, folder: Path, *, config: ViewerConfig) -> None:
        page = folder / PAGE
        if not page.is_file():
            raise InvalidPayloadError("viewer_path: holds no index.html")
        self._assets = assets_of(folder)
        self._script = config.script()
        login = config.login
        origins = () if login is None else login_origins(login)
        self._logged_out = None if login is None else login.after_logout_path.strip("/")
        policy = content_policy(inline_scripts(page.read_bytes()), origins)
        self._policy = ("Content-Security-Policy", policy)

    def action_at(self, path: str) -> None:  # no address of the viewer's needs one
        """Anybody may have the viewer: it holds nothing of a patient."""

    def answer(self, request: Request) -> Response | None:
        """The response to a GET or HEAD, or None if the address is not the viewer's."""
        name = unquote(request.path).strip("/")
        if name.partition("/")[0] in _OURS:
            return None
        if name == CONFIG:
            return self._made(request, self._script, ".js")
        if name == self._logged_out:
            return self._made(request, LOGGED_OUT_PAGE, ".html")
        asset = self._assets.get(name)
        if asset is None and "." not in name.rpartition("/")[2]:
            asset = self._assets[PAGE]  # a place inside the viewer: its own router takes it
        return None if asset is None else self._file(request, asset)

    def _made(self, request: Request, content: bytes, suffix: str) -> Response:
        etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        headers = (("Content-Type", _MEDIA_TYPES[suffix]), *self._headers(etag, ASK_AGAIN))
        if _knows(request, etag):
            return Response(304, headers)
        return Response(200, headers, (content,))

    def _file(self, request: Request, asset: Asset) -> Response | None:
        packed = asset.packed if request.takes_gzip else None
        path = packed or asset.path
        try:
            found = path.stat()
        except FileNotFoundError:
            return None
        etag = f'"{found.st_size:x}-{found.st_mtime_ns:x}"'
        headers = [("Content-Type", asset.media_type), *self._headers(etag, asset.caching)]
        if asset.packed is not None:
            headers.append(("Vary", "Accept-Encoding"))
        if packed is not None:
            headers.append(("Content-Encoding", "gzip"))
        if _knows(request, etag):
            return Response(304, tuple(headers))
        return Response(200, tuple(headers), (FileSlice(path, 0, found.st_size),))

    def _headers(self, etag: str, caching: str) -> tuple[tuple[str, str], ...]:
        validity = (("ETag", etag), ("Cache-Control", caching))
        # Workers take their policy and their isolation from their own script's response.
        return (*validity, *_EVERYWHERE, *_ISOLATION, self._policy)


def assets_of(folder: Path) -> dict[str, Asset]:
    """Every file that is served, by its name; hidden ones, source maps and links are not."""
    folder = folder.resolve()
    found = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.resolve() == path
    }
    return {
        name: Asset(path, media_type(name), _caching(name), found.get(f"{name}.gz"))
        for name, path in found.items()
        if not name.endswith((".map", ".gz")) and not _is_hidden(name)
    }


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "_")) for part in name.split("/"))


def media_type(name: str) -> str:
    """What a file of this name is."""
    suffix = f".{name.rpartition('.')[2]}" if "." in name else ""
    return _MEDIA_TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"


def _caching(name: str) -> str:
    return FOREVER if _HASHED.search(name) else ASK_AGAIN


def inline_scripts(page: bytes) -> tuple[str, ...]:
    """The digests of the scripts within a page, as a policy names them."""
    digests = (
        base64.b64encode(hashlib.sha256(text).digest()).decode()
        for text in _INLINE_SCRIPT.findall(page)
    )
    return tuple(dict.fromkeys(f"'sha256-{digest}'" for digest in digests))


def content_policy(scripts: tuple[str, ...], origins: tuple[str, ...]) -> str:
    """A policy that lets the viewer run and lets nothing leave for other than these origins.

    The page's inline scripts are allowed by their digest. The codecs of JPEG-LS, JPEG 2000 and
    HTJ2K are WebAssembly whose glue makes functions of text, which is `unsafe-eval`.
    """
    return "; ".join(
        (
            "default-src 'self'",
            " ".join(("script-src 'self' 'unsafe-eval' 'wasm-unsafe-eval'", *scripts)),
            "worker-src 'self' blob:",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "font-src 'self' data:",
            " ".join(("connect-src 'self' data: blob:", *origins)),
            "object-src 'none'",
            "base-uri 'self'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        )
    )


def _knows(request: Request, etag: str) -> bool:
    """Tell whether the client holds this already (RFC 9110 13.1.2)."""
    given = request.headers.get("if-none-match", "")
    return given.strip() == "*" or etag in {
        one.strip().removeprefix("W/") for one in given.split(",")
    }
