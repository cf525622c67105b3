"""A diskcache `Disk` that neither writes nor reads pickle (CVE-2025-69872)."""

from typing import Any, Final

from diskcache import UNKNOWN, Disk
from diskcache.core import MODE_PICKLE

from teleprefetch.errors import CorruptPayloadError

_PLAIN: Final = (bytes, str, int, float)


class BytesDisk(Disk):  # type: ignore[misc]  # diskcache has no types
    """Keys and values are bytes, text or numbers; whatever is pickled is refused.

    Unpickling runs code of whoever could write the directory, and diskcache has no release that
    does without it.
    """

    def put(self, key: Any) -> Any:
        """The key as a column; raises TypeError for a key that would need pickle."""
        if type(key) not in _PLAIN:
            raise TypeError("store: a key of this type is refused")
        return super().put(key)

    def get(self, key: Any, raw: bool) -> Any:
        """The key of a row; raises CorruptPayloadError if it is a pickled one."""
        if not raw:
            raise CorruptPayloadError("store: a pickled key is refused")
        return super().get(key, raw)

    def store(self, value: Any, read: bool, key: Any = UNKNOWN) -> Any:
        """The value as columns; raises TypeError for a value that would need pickle."""
        if read or type(value) not in _PLAIN:
            raise TypeError("store: a value of this type is refused")
        return super().store(value, read, key=key)

    def fetch(self, mode: Any, filename: Any, value: Any, read: bool) -> Any:
        """The value of a row; raises CorruptPayloadError if it is a pickled one."""
        if mode == MODE_PICKLE:
            raise CorruptPayloadError("store: a pickled value is refused")
        return super().fetch(mode, filename, value, read)
