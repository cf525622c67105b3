"""What one of doctor's checks is given, and what it finds."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from teleprefetch.model import Value
from teleprefetch.operate.site import Site

Health = Literal["ok", "warning", "failure", "unknown"]


class Finding(Value):
    """What one check found; `cure` is what to do about it, empty where nothing is."""

    check: str
    health: Health
    found: str
    cure: str = ""


@dataclass(frozen=True, slots=True)
class Patient:
    """What is checked, and the time here."""

    site: Site
    environment: Mapping[str, str]
    now: Callable[[], datetime]


Check = Callable[[Patient], Iterable[Finding]]


def ok(check: str, found: str) -> Finding:
    """Nothing is wrong."""
    return Finding(check=check, health="ok", found=found)


def failure(check: str, found: str, cure: str) -> Finding:
    """Something is wrong, and this is the cure."""
    return Finding(check=check, health="failure", found=found, cure=cure)


def warning(check: str, found: str, cure: str) -> Finding:
    """Something is not as most would have it."""
    return Finding(check=check, health="warning", found=found, cure=cure)
