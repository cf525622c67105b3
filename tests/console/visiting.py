"""Visits a console over HTTP as a browser without scripts does."""

import re
from dataclasses import dataclass, field
from html import unescape
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

import urllib3

from teleprefetch.local.login.people import Person


@dataclass
class Page:
    """An answer; `url` is where it came from."""

    url: str
    status: int
    headers: Any
    text: str

    def hidden(self, name: str) -> str:
        """The value of a hidden field, of the page's last form that has one of that name."""
        found = re.findall(rf'name="{name}" value="([^"]*)"', self.text)
        return unescape(found[-1])


@dataclass
class Visitor:
    """Keeps cookies by host, and follows redirects."""

    console: str
    cookies: dict[str, dict[str, str]] = field(default_factory=dict)
    pool: urllib3.PoolManager = field(default_factory=lambda: urllib3.PoolManager(retries=False))

    def get(self, path: str, *, follow: bool = True, **headers: str) -> Page:
        return self._go("GET", urljoin(self.console, path), None, headers, follow=follow)

    def post(
        self,
        path: str,
        fields: dict[str, Any],
        *,
        follow: bool = True,
        origin: str | None = None,
        is_multipart: bool = False,
    ) -> Page:
        url = urljoin(self.console, path)
        parts = urlsplit(url)
        headers = {"Origin": origin if origin is not None else f"{parts.scheme}://{parts.netloc}"}
        if is_multipart:
            body, kind = urllib3.encode_multipart_formdata(fields)
        else:
            body, kind = urlencode(fields, doseq=True).encode(), "application/x-www-form-urlencoded"
        return self._go("POST", url, body, headers | {"Content-Type": kind}, follow=follow)

    def log_in(self, person: Person, path: str = "/") -> Page:
        """Ask for a page, choose somebody at the issuer, and come back."""
        asked = self.get(path)
        assert urlsplit(asked.url).netloc != urlsplit(self.console).netloc, asked.text
        login = asked.hidden("login")
        return self.post(urljoin(asked.url, "/login"), {"login": login, "subject": person.subject})

    def _go(
        self, method: str, url: str, body: bytes | None, headers: dict[str, str], *, follow: bool
    ) -> Page:
        for _ in range(10):
            kept = self.cookies.setdefault(urlsplit(url).netloc, {})
            sent = headers | (
                {"Cookie": "; ".join(f"{n}={v}" for n, v in kept.items())} if kept else {}
            )
            answer = self.pool.request(method, url, body=body, headers=sent, redirect=False)
            for header in answer.headers.getlist("Set-Cookie"):
                name, _, value = header.partition(";")[0].partition("=")
                kept[name] = value
                if "Max-Age=0" in header:
                    del kept[name]
            if not (follow and answer.status in {302, 303}):
                return Page(url, answer.status, answer.headers, answer.data.decode())
            place = urljoin(url, answer.headers["Location"]).partition("#")[0]
            url, method, body = place, "GET", None
            headers = {}
        raise AssertionError(f"too many redirects: {url}")
