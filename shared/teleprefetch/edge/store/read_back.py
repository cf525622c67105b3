"""The digest of bytes as the disk has them, past what the system remembers of their writing.

Direct reads (open(2), O_DIRECT) leave the page cache as it is: what was written lies there in large
pieces, which sendfile passes on in a sixth less time than what single frames are read into, and
other processes are sending from it.
"""

import errno
import hashlib
import mmap
import os
import threading
from typing import Final

_BUFFER_BYTES: Final = 256 << 10
_BLOCK_BYTES: Final = 4096
_BUFFERS: Final = threading.local()


def digest_on_disk(descriptor: int, offset: int, length_bytes: int) -> str:
    """The SHA-256 of a piece of a file in hexadecimal; nothing if the file ends before it.

    Raises:
        OSError: the disk cannot be read.
    """
    try:
        direct = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
        try:
            return _digest(direct, offset, length_bytes)
        finally:
            os.close(direct)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    # A file system without direct reads: what it remembers is dropped first.
    os.posix_fadvise(descriptor, offset, length_bytes, os.POSIX_FADV_DONTNEED)
    return _digest(descriptor, offset, length_bytes)


def _digest(descriptor: int, offset: int, length_bytes: int) -> str:
    digest = hashlib.sha256()
    end = offset + length_bytes
    at = offset // _BLOCK_BYTES * _BLOCK_BYTES
    buffer = _buffer()
    while at < end:
        wanted = min(_BUFFER_BYTES, -(-(end - at) // _BLOCK_BYTES) * _BLOCK_BYTES)
        count = os.preadv(descriptor, [buffer[:wanted]], at)
        if at + count < end and count < wanted:
            return ""
        digest.update(buffer[max(offset - at, 0) : min(count, end - at)])
        at += count
    return digest.hexdigest()


def _buffer() -> memoryview:
    """This thread's own; a mapping, since direct reads go to whole pages."""
    if not hasattr(_BUFFERS, "view"):
        _BUFFERS.view = memoryview(mmap.mmap(-1, _BUFFER_BYTES))
    view: memoryview = _BUFFERS.view
    return view
