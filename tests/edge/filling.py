"""Fills a store with frames and reads them back, for tests."""

import os

from teleprefetch.dicom import HTJ2K_LOSSLESS
from teleprefetch.edge.store.rows import frame_name
from teleprefetch.model import Frame
from tests.edge.fakes_for_node import ORIGIN, content, entry, metadata


def fill(store, series, count, *, size=0, bytes_of=content):
    """The names of the frames that the series holds now."""
    store.put_metadata(ORIGIN, metadata(series, count))
    with store.writing(ORIGIN, series) as writer:
        for number in range(1, count + 1):
            bytes_ = os.urandom(size) if size else bytes_of(number)
            frame = Frame(content=bytes_, transfer_syntax_uid=HTJ2K_LOSSLESS)
            writer.append(entry(series, number), frame)
    return {frame_name(entry(series, number)) for number in range(1, count + 1)}


def segment_of(store, series):
    """Where the frames of a series lie."""
    (row,) = [row for row in store.rows() if row.series == series]
    return store._segments / row.segment


def served(store, series, number):
    """The bytes that a reader gets, or None."""
    for row in store.of_study(series.study_instance_uid):
        if row.series.series_instance_uid == series.series_instance_uid:
            frame = store.frame(row, frame_name(entry(series, number)))
            return None if frame is None else read(frame)
    return None


def read(frame):
    """The bytes that a found frame points to."""
    if frame.content is not None:
        return frame.content
    with frame.path.open("rb") as file:
        return os.pread(file.fileno(), frame.length_bytes, frame.offset)
