"""The console that `teleprefetch up` starts, over a real local stack and its node."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from teleprefetch.local.login.people import OPERATOR, READER
from tests.console.visiting import Page, Visitor
from tests.waiting import until

COMMAND = Path(sys.executable).parent / "teleprefetch"
WITHIN_S = 120


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("up") / "up.log"
    with log.open("w") as output:
        process = subprocess.Popen([COMMAND, "up", "--samples"], stdout=output, stderr=output)
    try:
        until(
            lambda: "The notice is out" in log.read_text() or process.poll() is not None,
            "the notice",
            within_s=WITHIN_S,
        )
        [link] = re.findall(r"^The operators' console.*\n(\S+)$", log.read_text(), re.MULTILINE)
        yield link
    finally:
        process.send_signal(2)
        assert process.wait(60) == 0


@pytest.fixture(scope="module")
def operator(url: str) -> Visitor:
    visitor = Visitor(url)
    assert visitor.log_in(OPERATOR).status == 200
    return visitor


def seen(visitor: Visitor, address: str, is_it: Callable[[str], bool]) -> Page:
    """A page, once it is as it should be."""

    def look() -> Page | None:
        page = visitor.get(address)
        return page if is_it(page.text) else None

    page = until(look, address)
    assert isinstance(page, Page)
    return page


def test_the_study_that_was_assigned_is_found_told_and_right_already(operator: Visitor) -> None:
    found = operator.get("/find?kind=notice").text
    [uid] = set(re.findall(r'href="/studies/([\d.]+)"', found))
    study = seen(operator, f"/studies/{uid}", lambda text: "is warm." in text)
    assert "notice out, warm" in study.text
    assert "frames proven" in study.text
    assert study.text.count('data-head="Prior"') == 11

    fields = {name: study.hidden(name) for name in ("csrf", "once", "what", "mode")}
    begun = operator.post("/replay", fields)
    preview = seen(operator, begun.url, lambda text: "data-live" not in text)
    assert "already right: the nodes hold and prove every planned frame" in preview.text


def test_the_node_tells_how_full_it_is_and_the_audit_what_was_worth(operator: Visitor) -> None:
    nodes = operator.get("/nodes").text
    assert "node-a" in nodes
    assert re.search(r"[\d.]+% of 4,000.0 MB", nodes)
    worth = operator.get("/worth").text
    assert "Warm before the notice" in worth
    assert "Wasted" in worth


def test_rules_are_tried_over_the_documents_of_the_stack(operator: Visitor) -> None:
    form = operator.get("/rules")
    fields = {"csrf": form.hidden("csrf"), "once": form.hidden("once"), "rules": "floor = 0.01\n"}
    begun = operator.post("/rules", fields, is_multipart=True)
    tried = seen(operator, begun.url, lambda text: "data-live" not in text)
    assert "under both sets of rules" in tried.text
    assert re.search(r"[1-9]\d* plans? differs?", tried.text)


def test_the_reader_is_no_operator(url: str) -> None:
    assert Visitor(url).log_in(READER).status == 403
