"""How many bytes a series will take, before anything of it was read: `data/sizes.toml`."""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

from teleprefetch.domain.exam import exam_of, modality_group
from teleprefetch.model import SeriesRecord, StudyRecord

_MEGABYTE: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes of one instance, and of one study whose instances are not counted."""

    instance_bytes: int
    study_bytes: int


@cache
def sizes() -> dict[str, Size]:
    """The packaged sizes by modality group."""
    document = tomllib.loads((files("teleprefetch.domain") / "data/sizes.toml").read_text("utf-8"))
    return {
        modality: Size(round(row["instance_mb"] * _MEGABYTE), round(row["study_mb"] * _MEGABYTE))
        for modality, row in document["modality"].items()
    }


def sizes_of(study: StudyRecord) -> tuple[int, ...]:
    """The estimated bytes of each series of a study, in the order of its series.

    A series whose instances are not counted gets its share of the study's, and where those are
    not counted either, of a median study.
    """
    modality = exam_of(study).modality
    return tuple(_series_bytes(one, modality, study) for one in study.series)


def study_bytes(study: StudyRecord) -> int:
    """The estimate of a whole study, by its series or, without any, by its modality."""
    if not study.series:
        return size_of(exam_of(study).modality).study_bytes
    return sum(sizes_of(study))


def size_of(modality: str) -> Size:
    """The size of a kind of exam, or of an object that is none, such as SR."""
    return sizes().get(modality) or sizes()["OT"]


def _series_bytes(series: SeriesRecord, study_modality: str, study: StudyRecord) -> int:
    code = series.modality.strip().upper()
    size = size_of(code if code in sizes() else modality_group(code) or study_modality)
    if series.number_of_instances:
        return size.instance_bytes * series.number_of_instances
    if study.number_of_study_related_instances:
        return size.instance_bytes * study.number_of_study_related_instances // len(study.series)
    return size.study_bytes // len(study.series)
