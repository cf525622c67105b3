"""The pages in shared/docs are what their generators write now, and name what exists."""

import re
from pathlib import Path

import pytest

from tests.pages.blocks import DOCS, ROOT, filled, named_in
from tests.pages.book import BOOK

TESTS = ROOT / "tests"
PAGES = sorted(path.name for path in DOCS.glob("*.md"))
_TEST = re.compile(r"`((?:\w+/)+test_\w+\.py(?:::\w+)?)`")
_PATH = re.compile(
    r"`((?:shared|functions|statemachine|tests|edge|domain|adapters|steps)/[\w/.]*)`"
)
_LINK = re.compile(r"\]\((?!https?://)([^)#]*)(?:#([^)]*))?\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


@pytest.mark.parametrize("name", BOOK)
def test_the_generated_parts_of_a_page_are_what_its_generator_writes_now(name: str) -> None:
    page = (DOCS / name).read_text()

    assert filled(page, BOOK[name]) == page, "run: uv run python -m tests.pages"


@pytest.mark.parametrize("name", PAGES)
def test_each_generated_part_has_its_place_on_its_page_once(name: str) -> None:
    assert sorted(named_in((DOCS / name).read_text())) == sorted(BOOK.get(name, {}))


@pytest.mark.parametrize("name", PAGES)
def test_each_test_that_a_page_names_exists(name: str) -> None:
    named = _TEST.findall((DOCS / name).read_text())

    assert [one for one in named if not _is_test(one)] == []


@pytest.mark.parametrize("name", PAGES)
def test_each_path_that_a_page_names_is_there(name: str) -> None:
    named = _PATH.findall((DOCS / name).read_text())
    roots = (ROOT, ROOT / "shared/teleprefetch", TESTS)

    assert [one for one in named if not any((root / one).exists() for root in roots)] == []


@pytest.mark.parametrize("name", PAGES)
def test_each_link_of_a_page_leads_somewhere(name: str) -> None:
    for path, anchor in _LINK.findall(_without_code((DOCS / name).read_text())):
        target = DOCS / path if path else DOCS / name
        assert target.exists(), path
        if anchor:
            assert anchor in _anchors(target), f"{path}#{anchor}"


@pytest.mark.parametrize("name", PAGES)
def test_no_page_names_a_place_of_one_machine(name: str) -> None:
    assert not re.search(r"(?<![\w.])/(?:home|root|work|Users)/", (DOCS / name).read_text())


def test_a_page_that_is_old_is_noticed() -> None:
    page = "<!-- generated: one -->\n\nold\n\n<!-- end -->\n"

    assert filled(page, {"one": lambda: "new\n"}) == page.replace("old", "new")


def _is_test(named: str) -> bool:
    path, _, function = named.partition("::")
    file = TESTS / path.removeprefix("tests/")
    return file.is_file() and (not function or f"def {function}(" in file.read_text())


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = _HEADING.findall(_without_code(page.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _without_code(page: str) -> str:
    return re.sub(r"```.*?```", "", page, flags=re.DOTALL)
