"""The table of what goes wrong names tests that exist, one at least for each of the 42."""

import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
TABLE = TESTS.parent / "shared/docs/scenarios.md"
ROW = re.compile(r"^\| (\d+) \| [^|]+ \| ([^|]+) \|$", re.MULTILINE)


def _rows() -> dict[int, list[str]]:
    return {
        int(number): re.findall(r"`([^`]+)`", named)
        for number, named in ROW.findall(TABLE.read_text())
    }


def _exists(named: str) -> bool:
    path, _, function = named.partition("::")
    file = TESTS / path
    return file.is_file() and (not function or f"def {function}(" in file.read_text())


def test_each_scenario_has_a_test() -> None:
    rows = _rows()

    assert sorted(rows) == list(range(1, 43))
    assert all(rows.values())


def test_each_test_that_is_named_exists() -> None:
    named = [one for every in _rows().values() for one in every]

    assert [one for one in named if not _exists(one)] == []
