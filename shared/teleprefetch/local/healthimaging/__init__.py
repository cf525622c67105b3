"""A stand-in for AWS HealthImaging: one data store on loopback, as its documentation has it.

Nothing here is a model of how HealthImaging works inside. What is undocumented is a setting, so
that a client can be tried against each reading (see `Settings`).
"""

from teleprefetch.local.healthimaging.imports import ImportSettings
from teleprefetch.local.healthimaging.journal import LoggedRequest, RequestLog
from teleprefetch.local.healthimaging.service import HealthImaging
from teleprefetch.local.healthimaging.settings import Settings
from teleprefetch.local.healthimaging.throttle import DEFAULT_THROTTLES, Rate, Throttles

__all__ = [
    "DEFAULT_THROTTLES",
    "HealthImaging",
    "ImportSettings",
    "LoggedRequest",
    "Rate",
    "RequestLog",
    "Settings",
    "Throttles",
]
