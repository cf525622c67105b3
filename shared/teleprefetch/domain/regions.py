"""Which regions lie in which, and what a prior shows of another: `data/anatomy.toml`."""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Final

# PS3.3 C.7.3.1.1.1, gathered; the order says which counts in a study of several.
MODALITIES: Final = ("PT", "NM", "BMD", "MG", "MR", "CT", "XA", "RF", "US", "XR", "OT")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the pair table; empty modalities mean any."""

    current: frozenset[str]
    prior: frozenset[str]
    value: float


@dataclass(frozen=True, slots=True)
class Remap:
    """A word that means another place in another modality's mouth."""

    modalities: frozenset[str]
    region: str
    meant: tuple[str, ...]
    flag: str


@dataclass(frozen=True, slots=True)
class Anatomy:
    """The region tables as read from the package."""

    parents: dict[str, tuple[str, float, float]]
    siblings: dict[str, float]
    near: dict[tuple[str, str], tuple[Row, ...]]
    remaps: tuple[Remap, ...]
    default_region: dict[str, str]
    default_region_by_flag: dict[tuple[str, str], str]
    suppress: dict[str, frozenset[str]]
    general: frozenset[str]
    yielding: frozenset[str]
    paired: frozenset[str]


@cache
def anatomy() -> Anatomy:
    """The packaged tables."""
    document = tomllib.loads(
        (files("teleprefetch.domain") / "data/anatomy.toml").read_text("utf-8")
    )
    near: dict[tuple[str, str], tuple[Row, ...]] = {}
    for row in document["near"]:
        current, prior = row["regions"]
        read = Row(frozenset(row.get("current", ())), frozenset(row.get("prior", ())), row["value"])
        near[current, prior] = (*near.get((current, prior), ()), read)
        if row.get("mutual", False):
            turned = Row(read.prior, read.current, read.value)
            near[prior, current] = (*near.get((prior, current), ()), turned)
    return Anatomy(
        parents={
            region: (up, part, whole) for region, (up, part, whole) in document["parents"].items()
        },
        siblings=document["siblings"],
        near=near,
        remaps=tuple(
            Remap(frozenset(row["modality"]), row["from"], tuple(row["to"]), row.get("flag", ""))
            for row in document["remap"]
        ),
        default_region=document["default_region"],
        default_region_by_flag={
            (row["modality"], row["flag"]): row["region"]
            for row in document["default_region_by_flag"]
        },
        suppress={row["having"]: frozenset(row["drop"]) for row in document["suppress"]},
        general=frozenset(document["general"]["regions"]),
        yielding=frozenset(document["general"]["anything"]),
        paired=frozenset(document["paired"]["regions"]),
    )


@lru_cache(maxsize=4_096)
def settled(regions: tuple[str, ...], *, modality: str, flags: frozenset[str]) -> tuple[str, ...]:
    """The regions an exam is of, once modality and the other regions have had their say."""
    tables = anatomy()
    if modality == "MG" and regions:
        return ("BREAST",)
    meant = dict.fromkeys(
        named for region in regions for named in _remapped(region, modality, flags)
    )
    dropped = frozenset[str]().union(*(tables.suppress.get(region, ()) for region in meant))
    kept = [region for region in meant if region not in dropped] or list(meant)
    return tuple(region for region in kept if not _is_too_general(region, kept, modality))


def default_regions(*, modality: str, flags: frozenset[str]) -> tuple[str, ...]:
    """The region of an exam of which only modality and flags are known, if they tell."""
    tables = anatomy()
    by_flag = (tables.default_region_by_flag.get((modality, flag)) for flag in sorted(flags))
    default = tables.default_region.get(modality) or next(filter(None, by_flag), None)
    return () if default is None else (default,)


def _is_too_general(region: str, kept: list[str], modality: str) -> bool:
    tables = anatomy()
    if region in tables.yielding and modality != "NM" and not tables.yielding.issuperset(kept):
        return True
    return region in tables.general and any(
        region in (up for up, _ in _lineage(other, 1)[1:]) for other in kept
    )


@cache
def regions() -> frozenset[str]:
    """Every region that the tables know."""
    tables = anatomy()
    wholes = {up for up, _, _ in tables.parents.values()}
    pairs = {region for pair in tables.near for region in pair}
    return frozenset({*tables.parents, *wholes, *pairs, *tables.default_region.values()})


@cache
def lineage(region: str) -> frozenset[str]:
    """The region itself and all that it lies in."""
    return frozenset(name for name, _ in _lineage(region, 1))


def is_paired(regions: Iterable[str]) -> bool:
    """True if left and right are two exams for one of the regions, or if there is no region."""
    named = tuple(regions)
    return not named or not anatomy().paired.isdisjoint(named)


def _remapped(region: str, modality: str, flags: frozenset[str]) -> tuple[str, ...]:
    for row in anatomy().remaps:
        if (
            row.region == region
            and modality in row.modalities
            and (not row.flag or row.flag in flags)
        ):
            return row.meant
    return (region,)


@lru_cache(maxsize=65_536)
def worth(current: str, prior: str, *, current_modality: str, prior_modality: str) -> float:
    """What a prior of one region is worth to an exam of another, from 0 to 1."""
    if current == prior:
        return 1.0
    tables = anatomy()
    for climb, one, other in _nearest_first(_lineage(current, 2), _lineage(prior, 1)):
        if one == other:
            return _kin(current, prior, one)
        fits = [
            (bool(row.current) + bool(row.prior), row.value)
            for row in tables.near.get((one, other), ())
            if (not row.current or current_modality in row.current)
            and (not row.prior or prior_modality in row.prior)
        ]
        if fits:
            return max(fits)[1] * climb
    return 0.0


def _lineage(region: str, share: int) -> list[tuple[str, float]]:
    """The region and what it lies in, each with the product of the shares up to it."""
    lineage = [(region, 1.0)]
    while row := anatomy().parents.get(lineage[-1][0]):
        lineage.append((row[0], lineage[-1][1] * float(row[share])))
    return lineage


def _nearest_first(
    ups: list[tuple[str, float]], prior_ups: list[tuple[str, float]]
) -> list[tuple[float, str, str]]:
    steps = [
        (i + j, share * prior_share, one, other)
        for i, (one, share) in enumerate(ups)
        for j, (other, prior_share) in enumerate(prior_ups)
    ]
    return [step[1:] for step in sorted(steps, key=lambda step: step[0])]


def _kin(current: str, prior: str, common: str) -> float:
    tables = anatomy()
    value = 1.0
    if common not in (current, prior):
        return tables.siblings.get(common, 0.0)
    lower = prior if common == current else current
    while lower != common:
        up, part, whole = tables.parents[lower]
        value *= part if common == current else whole
        lower = up
    return value
