"""What is installed with a node, the console or the functions may be passed on with it."""

import importlib.metadata
import re
from collections.abc import Iterator

from packaging.requirements import Requirement

ALLOWED = {
    "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "MIT", "MIT-0",
    "MPL-2.0", "PSF-2.0", "Zlib",
}  # fmt: skip
# What packages without an SPDX expression call their licence, in free text or as a classifier.
NAMES = {
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
}
# What their metadata do not tell, or not in a word; read in the licence files that they bring.
READ = {"cedarpy": "Apache-2.0", "python-dateutil": "Apache-2.0"}


def _closure(*extras: str) -> dict[str, importlib.metadata.Distribution]:
    """The distributions that the package needs with these extras, itself among them."""
    found: dict[tuple[str, tuple[str, ...]], importlib.metadata.Distribution] = {}
    waiting = [("teleprefetch", extras)]
    while waiting:
        name, wanted = waiting.pop()
        if (name, wanted) in found:
            continue
        found[name, wanted] = importlib.metadata.distribution(name)
        waiting.extend(_needed(found[name, wanted], wanted))
    return {name: distribution for (name, _), distribution in found.items()}


def _needed(
    distribution: importlib.metadata.Distribution, extras: tuple[str, ...]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    for text in distribution.requires or ():
        required = Requirement(text)
        marker = required.marker
        if marker is None or any(marker.evaluate({"extra": one}) for one in ("", *extras)):
            yield required.name, tuple(sorted(required.extras))


def _licences(distribution: importlib.metadata.Distribution) -> set[str]:
    """The identifiers of which all hold; of a choice, those that are allowed."""
    metadata = distribution.metadata
    name = metadata["Name"].lower()
    if name in READ:
        return {READ[name]}
    expression = metadata.get("License-Expression")
    if expression:
        every = (set(re.split(r" OR ", one.strip("() "))) for one in expression.split(" AND "))
        return {min(choice & ALLOWED or choice) for choice in every}
    classifiers = metadata.get_all("Classifier") or []
    named = {one.rpartition(" :: ")[2] for one in classifiers if one.startswith("License ::")}
    free = (metadata.get("License") or "").strip()
    chosen = {NAMES.get(one, one) for one in (named or {free}) if one}
    return chosen & ALLOWED or chosen


def test_every_licence_is_one_that_allows_it() -> None:
    closure = _closure("node", "console")
    refused = {
        name: licences
        for name, distribution in closure.items()
        if not (licences := _licences(distribution)) or not licences <= ALLOWED
    }

    assert len(closure) > 20
    assert refused == {}
