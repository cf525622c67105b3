"""What a study of the samples is made of, and the series that the scanners can make."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from teleprefetch.local.samples.pictures import Department, Picture
from teleprefetch.local.samples.real import real

Maker = Callable[[Department, int], Iterator[Picture]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A patient; the name and all else are made up."""

    patient_id: str
    birth_date: str
    sex: str
    name: str = "Sample^Patient"
    issuer: str = "SAMPLES"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesPlan:
    """A series: how many instances it has at scale 1, and who makes them."""

    number: int
    description: str
    count: int
    make: Maker
    sliced: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Exam:
    """A study; `slug` names its folder, `days_ago` counts back from the current study."""

    slug: str
    days_ago: int
    time: str
    modality: str
    description: str
    body_part: str
    series: tuple[SeriesPlan, ...]
    note: str
    protocol: str = ""
    laterality: str = ""


def chest_ct(count: int, *, enhanced: bool, nodule_mm: float, shift_mm: float = 0) -> SeriesPlan:
    """An axial CT of the chest, with a nodule of that size in the right upper lobe."""
    return SeriesPlan(
        number=2,
        description="AXIAL SOFT TISSUE",
        count=count,
        make=lambda room, slices: room.axial(
            slices,
            top_mm=236,
            bottom_mm=-62,
            enhanced=enhanced,
            kernel="soft",
            nodule_mm=nodule_mm,
            shift_mm=shift_mm,
        ),
    )


def two_views(pa: str, lateral: str) -> SeriesPlan:
    """The two radiographs of the chest, named by their ViewPosition."""
    return SeriesPlan(
        number=1,
        description="PA AND LATERAL",
        count=2,
        make=lambda room, n: room.chest(n, views=(pa, lateral)),
        sliced=False,
    )


def knee(side: int) -> SeriesPlan:
    """The two radiographs of a knee; `side` is 1 for the left one, -1 for the right one."""
    return SeriesPlan(
        number=1,
        description="AP AND LATERAL",
        count=2,
        make=lambda room, count: room.knee(count, side=side),
        sliced=False,
    )


def one_real(description: str, name: str) -> SeriesPlan:
    """One instance with real pixels, from the file of that name."""
    return SeriesPlan(
        number=1, description=description, count=1, make=lambda *_: real(name), sliced=False
    )


CORONAL_LUNGS: Final = SeriesPlan(
    number=3,
    description="COR LUNG",
    count=20,
    make=lambda room, count: room.coronal(count, enhanced=True, nodule_mm=13),
)
LOW_DOSE_LUNGS: Final = SeriesPlan(
    number=2,
    description="AXIAL LUNG",
    count=40,
    make=lambda room, count: room.axial(
        count,
        top_mm=232,
        bottom_mm=-58,
        enhanced=False,
        kernel="lung",
        nodule_mm=6,
        shift_mm=-6,
    ),
)
ABDOMEN: Final = SeriesPlan(
    number=2,
    description="PORTAL VENOUS 5MM",
    count=36,
    make=lambda room, count: room.axial(
        count, top_mm=42, bottom_mm=-300, enhanced=True, kernel="soft", shift_mm=3
    ),
)
BRAIN: Final = SeriesPlan(
    number=4, description="AX T2 TSE", count=20, make=lambda room, count: room.brain(count)
)
