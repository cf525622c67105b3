"""Checks a deployed stack from outside; each failure says what was found and what to do."""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Final

from teleprefetch.errors import AccessDeniedError, InvalidPayloadError, PrefetchError
from teleprefetch.operate.doctor_checks import CHECKS
from teleprefetch.operate.findings import Check, Finding, Patient, failure, ok
from teleprefetch.operate.site import Site, Stack

_NO_ACCESS: Final = (
    "give who runs this the policy of the stack's output OperatorPolicyArn, or other credentials"
)
_GONE: Final = "deploy the stack again, or undo what was changed by hand"
_SETTINGS: Final = (
    "change the parameter that the variable comes from and deploy the stack again"
    " (shared/docs/reference.md); nothing else can be checked before"
)


def examine(
    stack: Stack, environment: Mapping[str, str], *, now: Callable[[], datetime]
) -> Iterator[Finding]:
    """Make every check, each told as soon as it is made; reads alone."""
    try:
        site = Site(stack, environment)
    except InvalidPayloadError as error:
        yield failure("settings", str(error), _SETTINGS)
        return
    yield ok("settings", "every variable of the functions is what it should be")
    patient = Patient(site, environment, now)
    for name, check in CHECKS.items():
        yield from _checked(name, check, patient)


def _checked(name: str, check: Check, patient: Patient) -> Iterator[Finding]:
    try:
        yield from check(patient)
    except AccessDeniedError as error:
        yield failure(name, f"permission is lacking: {error}", _NO_ACCESS)
    except InvalidPayloadError as error:
        yield failure(name, f"it is not there, or not what it should be: {error}", _GONE)
    except PrefetchError as error:
        yield Finding(
            check=name,
            health="unknown",
            found=f"{type(error).__name__}: {error}",
            cure="run doctor again; if it stays, look whether the resource is still there",
        )
