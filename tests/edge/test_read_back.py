import hashlib
import os

import pytest

from teleprefetch.edge.http.descriptors import is_in_memory
from teleprefetch.edge.store import read_back
from teleprefetch.edge.store.read_back import digest_on_disk

CONTENT = os.urandom(1_000_003)


@pytest.fixture
def descriptor(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    descriptor = os.open(path, os.O_RDWR)
    os.fsync(descriptor)
    yield descriptor
    os.close(descriptor)


PIECES = [(0, 1), (0, 4096), (1, 4096), (4095, 2), (5000, 700_001), (1_000_002, 1), (0, 1_000_003)]


def refuse_direct(monkeypatch):
    plain = os.open

    def open_(path, flags, *mode):
        if flags & os.O_DIRECT:
            raise OSError(22, "no direct reads")
        return plain(path, flags, *mode)

    monkeypatch.setattr(read_back.os, "open", open_)


@pytest.mark.parametrize("is_direct", [True, False])
@pytest.mark.parametrize(("offset", "length"), PIECES)
def test_the_digest_is_that_of_the_piece(descriptor, monkeypatch, is_direct, offset, length):
    if not is_direct:
        refuse_direct(monkeypatch)
    expected = hashlib.sha256(CONTENT[offset : offset + length]).hexdigest()
    assert digest_on_disk(descriptor, offset, length) == expected


@pytest.mark.parametrize("is_direct", [True, False])
@pytest.mark.parametrize(("offset", "length"), [(0, 1_000_004), (1_000_003, 1), (2_000_000, 5)])
def test_a_piece_beyond_the_end_has_no_digest(descriptor, monkeypatch, is_direct, offset, length):
    if not is_direct:
        refuse_direct(monkeypatch)
    assert digest_on_disk(descriptor, offset, length) == ""


def test_what_was_written_is_read_though_it_is_not_on_the_disk_yet(descriptor):
    os.pwrite(descriptor, b"other", 10)
    changed = CONTENT[:10] + b"other" + CONTENT[15:]
    assert digest_on_disk(descriptor, 0, 100) == hashlib.sha256(changed[:100]).hexdigest()


def test_reading_back_leaves_in_memory_what_is_there(descriptor):
    digest_on_disk(descriptor, 0, len(CONTENT))
    assert is_in_memory(descriptor, 0, len(CONTENT))


def test_a_disk_that_fails_is_an_error(descriptor, monkeypatch):
    def fail(*_):
        raise OSError(5, "the disk failed")

    monkeypatch.setattr(read_back.os, "preadv", fail)
    with pytest.raises(OSError, match="the disk failed"):
        digest_on_disk(descriptor, 0, 5)
