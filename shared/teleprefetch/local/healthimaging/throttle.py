"""Token buckets: requests a second for each operation, and bytes a second for all frames."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

MonotonicClock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Rate:
    """Requests a second in the long run, and how many may come at once."""

    per_second: float
    burst: int


@dataclass(frozen=True, slots=True)
class Throttles:
    """The rates of an account by operation; an operation without one is never throttled."""

    rates: Mapping[str, Rate] = field(default_factory=lambda: MappingProxyType({}))

    def replace(self, **rates: Rate) -> "Throttles":
        """These throttles with some operations at other rates."""
        return Throttles(MappingProxyType({**self.rates, **rates}))


_DICOMWEB_RATE: Final = Rate(50, 100)

DEFAULT_THROTTLES: Final = Throttles(
    MappingProxyType(
        {
            "GetDatastore": Rate(10, 20),
            "ListDatastores": Rate(5, 10),
            "StartDICOMImportJob": Rate(1, 2),
            "GetDICOMImportJob": Rate(25, 50),
            "ListDICOMImportJobs": Rate(10, 20),
            "SearchImageSets": Rate(25, 50),
            "GetImageSet": Rate(25, 50),
            "GetImageSetMetadata": Rate(50, 100),
            "GetImageFrame": Rate(1000, 2000),
            "ListImageSetVersions": Rate(25, 50),
            "DeleteImageSet": Rate(0.25, 1),
            "GetDICOMInstance": _DICOMWEB_RATE,
            "GetDICOMInstanceMetadata": _DICOMWEB_RATE,
            "GetDICOMInstanceFrames": _DICOMWEB_RATE,
            "GetDICOMSeriesMetadata": _DICOMWEB_RATE,
        }
    )
)
"""The defaults of an account (developer guide, "Throttling limits"); the guide lists none for
the searches of DICOMweb nor for GetDICOMBulkdata."""


class TokenBucket:
    """A bucket that starts full, holds `burst` tokens and gains `per_second` of them."""

    def __init__(self, rate: Rate, clock: MonotonicClock) -> None:
        self._rate = rate
        self._clock = clock
        self._lock = threading.Lock()
        self._tokens = float(rate.burst)
        self._filled_at = clock()

    def take(self) -> bool:
        """Take one token, if there is one."""
        with self._lock:
            now = self._clock()
            gained = (now - self._filled_at) * self._rate.per_second
            self._tokens = min(float(self._rate.burst), self._tokens + gained)
            self._filled_at = now
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True


class Gate:
    """Lets requests through at the rates of an account, or none at all while it is shut."""

    def __init__(self, throttles: Throttles, clock: MonotonicClock = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets = {name: TokenBucket(rate, clock) for name, rate in throttles.rates.items()}
        self._shut_until: dict[str | None, float] = {}

    def set_rate(self, operation: str, rate: Rate | None) -> None:
        """Give an operation another rate and a full bucket; None: no limit."""
        with self._lock:
            if rate is None:
                self._buckets.pop(operation, None)
            else:
                self._buckets[operation] = TokenBucket(rate, self._clock)

    def shut(self, operation: str | None, duration_s: float) -> None:
        """Let nothing of an operation through for a while; None: of any operation."""
        with self._lock:
            self._shut_until[operation] = self._clock() + duration_s

    def open(self, operation: str | None) -> None:
        """End what `shut` began."""
        with self._lock:
            self._shut_until.pop(operation, None)

    def admits(self, operation: str) -> bool:
        """Whether one request may pass now; it is counted if so."""
        with self._lock:
            shut = bool(self._shut_until) and self._is_shut(operation)
            bucket = self._buckets.get(operation)
        return not shut and (bucket is None or bucket.take())

    def _is_shut(self, operation: str) -> bool:
        now = self._clock()
        return any(self._shut_until.get(key, now) > now for key in (None, operation))


class Link:
    """One line that all frames share: no more than `bandwidth_bps` bits a second go over it."""

    CHUNK_BYTES: Final = 16 * 1024

    def __init__(
        self,
        bandwidth_bps: int,
        *,
        clock: MonotonicClock = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._bytes_per_s = bandwidth_bps / 8
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._free_at = clock()

    def carry(self, length_bytes: int) -> None:
        """Return when the line would have carried that much, after everything before it."""
        with self._lock:
            now = self._clock()
            self._free_at = max(now, self._free_at) + length_bytes / self._bytes_per_s
            wait_s = self._free_at - now
        self._sleep(wait_s)
