"""No locked package is of a version that is known to be vulnerable, as far as .ci knows."""

import re
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
KNOWN = tomllib.loads((ROOT / ".ci/vulnerabilities.toml").read_text())
FLOOR: dict[str, list[str]] = KNOWN["floor"]
ACCEPTED: dict[str, list[str]] = KNOWN["accepted"]


def _locked() -> dict[str, set[Version]]:
    """Each package's versions: uv locks one for each kind of interpreter, if it must."""
    versions: defaultdict[str, set[Version]] = defaultdict(set)
    for package in tomllib.loads((ROOT / "uv.lock").read_text())["package"]:
        if "version" in package:
            versions[package["name"]].add(Version(package["version"]))
    return dict(versions)


LOCKED = _locked()


@pytest.mark.parametrize("name", sorted(FLOOR))
def test_a_package_is_locked_at_a_version_that_is_mended(name: str) -> None:
    least, advisory = FLOOR[name]

    assert min(LOCKED[name]) >= Version(least), f"{advisory}: uv lock --upgrade-package {name}"


@pytest.mark.parametrize("name", sorted(ACCEPTED))
def test_what_is_accepted_is_locked_still_and_says_why(name: str) -> None:
    newest, _, why = ACCEPTED[name]

    assert max(LOCKED[name]) <= Version(newest), "there is a newer one: does it mend it?"
    assert len(why) > 40
    assert name not in FLOOR


def test_each_entry_names_its_advisory() -> None:
    named = [entry[1] for entry in (*FLOOR.values(), *ACCEPTED.values())]

    assert [
        one for one in named if not re.fullmatch(r"CVE-\d{4}-\d{4,}|GHSA(-\w{4}){3}", one)
    ] == []


def test_nothing_is_listed_that_is_not_locked() -> None:
    assert {*FLOOR, *ACCEPTED} <= LOCKED.keys()
