"""Has the C library give large freed blocks back to the system."""

import ctypes
from typing import Final

_MMAP_THRESHOLD: Final = -3  # M_MMAP_THRESHOLD of mallopt(3)
_LARGE_BYTES: Final = 1 << 20


def return_large_blocks() -> bool:
    """Give each block of a megabyte or more back when it is freed; False where that is not known.

    glibc raises the size of such blocks to 32 MB by itself as soon as one is freed (mallopt(3)),
    and keeps them in each thread's own heap from then on: 16 threads that have once held a frame
    of 30 MB would hold half a gigabyte for ever. A size that is set is not raised.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False  # another C library
    return bool(mallopt(_MMAP_THRESHOLD, _LARGE_BYTES))
