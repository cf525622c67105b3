"""Has memory given back that is free, and looks for garbage less often: frames make none."""

import ctypes
import gc
from typing import Final

_MMAP_THRESHOLD: Final = -3  # M_MMAP_THRESHOLD of mallopt(3)
_LARGE_BYTES: Final = 4 << 20
_OBJECTS_BETWEEN: Final = 20_000


def return_large_blocks() -> bool:
    """Give each block of 4 MB or more back when it is freed; False where that is not known.

    glibc raises the size of such blocks to 32 MB by itself as soon as one is freed (mallopt(3)),
    and keeps them in each thread's own heap from then on: 16 threads that have once held a frame
    of 30 MB would hold half a gigabyte for ever. A size that is set is not raised. Smaller blocks
    are kept: decoders take one of a megabyte for every frame, whose pages cost a third more of the
    decoder's time when they are new each time.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False  # another C library
    return bool(mallopt(_MMAP_THRESHOLD, _LARGE_BYTES))


def look_for_garbage_less_often() -> None:
    """Leave alone what is there by now, and look for cycles after thousands of new objects.

    Nobody runs while CPython looks for them, and by its defaults an eighth of the time of fetching
    goes there: the futures and tickets of an order are many, and are no garbage (gc, "freeze").
    """
    gc.freeze()
    gc.set_threshold(_OBJECTS_BETWEEN, 20, 20)
