"""Logging in with a browser, as a person does."""

from teleprefetch.local.login.people import Person
from tests.browser import Page

_WITHIN_S = 60


def log_in(page: Page, person: Person, *, issuer: str) -> None:
    """Choose somebody on the local issuer's page."""
    _click(page, f"button[name=subject][value={person.subject}]", issuer)


def log_in_at_provider(page: Page, name: str, *, issuer: str) -> None:
    """Fill in the login page of the npm package oidc-provider, and agree on the next one."""
    _wait_for(page, "input[name=password]", issuer)
    for field in ("login", "password"):
        page.evaluate(f"document.querySelector('input[name={field}]').value = {name!r}")
    page.evaluate("document.querySelector('button[type=submit]').click()")
    _click(page, "form:not(:has(input[name=password])) button[type=submit]", issuer)
    gone = f"location.origin !== {issuer!r}"
    page.until(lambda: page.evaluate(gone), "the way back", within_s=_WITHIN_S)
    page.seen.complaints.clear()  # the provider's pages ask for a font that is elsewhere


def _click(page: Page, element: str, origin: str) -> None:
    _wait_for(page, element, origin)
    page.evaluate(f"document.querySelector({element!r}).click()")


def _wait_for(page: Page, element: str, origin: str) -> None:
    there = f"location.origin === {origin!r} && !!document.querySelector({element!r})"
    page.until(lambda: page.evaluate(there), element, within_s=_WITHIN_S)
