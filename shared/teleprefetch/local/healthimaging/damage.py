"""Files that are odd or damaged inside: what pydicom warns of, what it and the codecs raise."""

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from pydicom.config import IGNORE
from pydicom.config import settings as pydicom_settings
from pydicom.errors import BytesLengthException, InvalidDicomError

# Found by mutating real files.
UNREADABLE: Final = (
    InvalidDicomError,
    BytesLengthException,
    EOFError,
    OSError,
    ValueError,
    TypeError,
    AttributeError,
    NotImplementedError,
    RuntimeError,  # the root of the codecs' own errors
    struct.error,
    zlib.error,
)


@contextmanager
def files_taken_as_they_are() -> Iterator[None]:
    """While this lasts pydicom neither checks the values it reads nor warns of oddities."""
    mode = pydicom_settings.reading_validation_mode
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"pydicom\.")
        pydicom_settings.reading_validation_mode = IGNORE
        try:
            yield
        finally:
            pydicom_settings.reading_validation_mode = mode
