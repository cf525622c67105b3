"""Which image sets still answer 409 to a read of their metadata."""

import threading
import time
from collections.abc import Callable

from teleprefetch.local.healthimaging.archive import ImageSet
from teleprefetch.local.healthimaging.wire import ServiceError


class Processing:
    """Metadata may be refused for a while after an import (developer guide, GetImageSetMetadata).

    Each new version is "still processing" for `duration_s` from the first request for it on, and
    an image set that is held is so until it is released.
    """

    def __init__(self, duration_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._duration_s = duration_s
        self._clock = clock
        self._lock = threading.Lock()
        self._first_asked: dict[tuple[str, int], float] = {}
        self._held: set[str] = set()

    def hold(self, image_set_id: str) -> None:
        """Answer 409 for this image set until it is released."""
        with self._lock:
            self._held.add(image_set_id)

    def release(self, image_set_id: str) -> None:
        """End what `hold` began."""
        with self._lock:
            self._held.discard(image_set_id)

    def check(self, image_set: ImageSet) -> None:
        """Return if the metadata may be read.

        Raises:
            ServiceError: ConflictException.
        """
        with self._lock:
            now = self._clock()
            key = (image_set.image_set_id, image_set.latest.number)
            since = self._first_asked.setdefault(key, now)
            held = image_set.image_set_id in self._held
        if held or now < since + self._duration_s:
            raise ServiceError("ConflictException", "The image set is still processing")
