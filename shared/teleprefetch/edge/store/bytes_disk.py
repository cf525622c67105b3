"""A diskcache `Disk` that neither writes nor reads pickle (CVE-2025-69872), nor any file."""

from typing import Any, Final

from diskcache import UNKNOWN, Disk
from diskcache.core import MODE_RAW

from teleprefetch.errors import CorruptPayloadError

_PLAIN: Final = (str, int)


class BytesDisk(Disk):  # type: ignore[misc]  # diskcache has no types
    """Keys are text, values text or whole numbers; whatever is pickled is refused.

    Unpickling runs code of whoever could write the directory, and diskcache has no release that
    does without it. A row that names a file would have any file read.
    """

    def put(self, key: Any) -> Any:
        """The key as a column; raises TypeError for a key that would need pickle."""
        if type(key) is not str:
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
        """The value of a row; raises CorruptPayloadError if it is pickled, or in a file."""
        if mode != MODE_RAW or filename is not None:
            raise CorruptPayloadError("store: a value that is not plain is refused")
        return super().fetch(mode, filename, value, read)
