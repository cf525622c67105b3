"""A made-up patient's studies as DICOM files: what the demo and the tests warm."""

from teleprefetch.local.samples.archive import SampleArchive, SampleStudy, write_samples
from teleprefetch.local.samples.history import EXPECTED_ORDER

__all__ = ["EXPECTED_ORDER", "SampleArchive", "SampleStudy", "write_samples"]
