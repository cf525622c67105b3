"""OHIF has its readers logged in: who is assigned a study sees it, and who is not sees none."""

import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import jwt
import pytest

from teleprefetch.edge.audit.reading import entries
from teleprefetch.local import demo_input
from teleprefetch.local.login.people import COLLEAGUE, OPERATOR, READER, Person
from teleprefetch.local.node_process import free_port
from teleprefetch.local.reading import give, viewer_link
from teleprefetch.local.stack import LocalStack, StackOptions
from tests.browser import Exchange, Page, open_browser
from tests.login import log_in, log_in_at_provider
from tests.ohif import NO_TOUR, look, skip_without_viewer, viewports_of
from tests.oidc_provider import run_provider, skip_without_provider
from tests.waiting import until

COMMAND = Path(sys.executable).parent / "teleprefetch"
# oidc-client-ts renews a token a minute before its end.
_TOKEN_S = 63
_WITHIN_S = 60


@dataclass(frozen=True)
class ReadingPlace:
    """A node with an assigned study, and who logs its readers in."""

    node: str
    issuer: str
    link: str
    folder: Path


@pytest.fixture(scope="module")
def viewer() -> Path:
    return skip_without_viewer()


@pytest.fixture(scope="module")
def place(viewer: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReadingPlace]:
    samples = demo_input.made_up(
        tmp_path_factory.mktemp("samples") / "all", today=datetime.now(UTC).date(), scale=0.1
    )
    options = StackOptions(node_variables={"VIEWER_PATH": str(viewer)}, token_s=_TOKEN_S)
    with LocalStack(options) as stack:
        notice = give(samples, reader=stack.provider.reads)
        assert notice.reason == "warm"
        link = viewer_link(stack.node.url, notice)
        yield ReadingPlace(stack.node.url, stack.provider.issuer, link, stack.folder)


@contextmanager
def opened(address: str) -> Iterator[Page]:
    with open_browser() as page:
        page.size(1400, 900)
        page.at_start(NO_TOUR)
        page.open(address)
        yield page


def dicomweb(page: Page) -> list[Exchange]:
    return [one for one in page.seen.exchanges.values() if "/dicom-web/" in one.url]


def assert_reads_the_assigned_study(page: Page, place: ReadingPlace) -> None:
    left, right, *_ = look(page, viewports=2)
    pair = place.link.partition("StudyInstanceUIDs=")[2].partition("&")[0].split(",")
    assert [pair[0] in left.image, pair[1] in right.image] == [True, True]
    assert {one.authorization.partition(" ")[0] for one in dicomweb(page)} == {"Bearer"}
    assert page.seen.complaints == []


def assert_no_token_is_written_down(page: Page, place: ReadingPlace) -> None:
    """Not in an address, not in any file of the stack: logs, store and audit."""
    tokens = {one.authorization.partition(" ")[2] for one in dicomweb(page)}
    assert min(map(len, tokens)) > 300
    urls = [one.url for one in page.seen.exchanges.values()]
    log = place.folder / "node.log"
    until(lambda: '"from":"access","kind":"' in log.read_text(), "the access log")
    written = {path: path.read_bytes() for path in place.folder.rglob("*") if path.is_file()}
    assert len(written) > 10
    for part in {part for token in tokens for part in token.split(".")}:
        assert [url for url in urls if part in url] == []
        assert [path for path, content in written.items() if part.encode() in content] == []


def reference(authorization: str) -> str:
    """How the audit names the token."""
    token = authorization.partition(" ")[2]
    return f"jti:{jwt.decode(token, options={'verify_signature': False})['jti']}"


def assert_each_answer_is_on_record(page: Page, place: ReadingPlace) -> None:
    """As many records of each token as the browser had answers to it, and none refused."""

    def answered() -> Counter[tuple[str, str]]:
        return Counter(
            (reference(one.authorization), "served") for one in dicomweb(page) if one.status
        )

    def recorded() -> Counter[tuple[str, str]]:
        events = (entry.event for entry in entries(place.folder / "store" / "audit"))
        ours = {token for token, _ in answered()}
        return Counter((event.token, event.kind) for event in events if event.token in ours)

    page.until(lambda: answered() == recorded(), "a record for each answer", within_s=_WITHIN_S)
    assert answered().total() > 10


def assert_sees_no_study(page: Page) -> None:
    """Nothing is shown, nothing of a study came, and OHIF's list of studies is empty."""
    page.until(lambda: dicomweb(page), "a request", within_s=_WITHIN_S)
    page.until(
        lambda: all(one.status for one in dicomweb(page)) and page.evaluate(_SAYS_NOTHING_FOUND),
        "OHIF to give up",
        within_s=_WITHIN_S,
    )
    assert {one.authorization.partition(" ")[0] for one in dicomweb(page)} == {"Bearer"}
    assert viewports_of(page) == []
    assert [one.url for one in dicomweb(page) if "/frames/" in one.url] == []
    page.evaluate("document.querySelector('a').click()")
    page.until(
        lambda: "No studies available" in page.evaluate("document.body.innerText"),
        "an empty list",
        within_s=_WITHIN_S,
    )


# OHIF 3.13 leaves for a page of its own when a study of the link is not to be found.
_SAYS_NOTHING_FOUND = "location.pathname.startsWith('/notfoundstudy')"


def test_whoever_opens_the_link_logs_in_and_sees_the_assigned_study(
    place: ReadingPlace, tmp_path: Path
) -> None:
    with opened(place.link) as page:
        page.until(
            lambda: page.evaluate(f"location.origin === {place.issuer!r}"),
            "the issuer",
            within_s=60,
        )
        page.screenshot(tmp_path / "login.png")
        log_in(page, READER, issuer=place.issuer)
        assert_reads_the_assigned_study(page, place)
        page.screenshot(tmp_path / "reads.png")

        assert page.evaluate("location.href") == place.link
        elsewhere = {
            f"{urlsplit(one.url).scheme}://{urlsplit(one.url).netloc}"
            for one in page.seen.exchanges.values()
            if one.url.startswith("http")
        }
        assert elsewhere == {place.node, place.issuer}
        assert_each_answer_is_on_record(page, place)
        assert_no_token_is_written_down(page, place)


@pytest.mark.parametrize("person", [COLLEAGUE, OPERATOR])
def test_who_is_not_assigned_it_sees_no_study(
    place: ReadingPlace, tmp_path: Path, person: Person
) -> None:
    with opened(place.link) as page:
        log_in(page, person, issuer=place.issuer)
        try:
            assert_sees_no_study(page)
        finally:
            page.screenshot(tmp_path / "refused.png")
        assert_no_token_is_written_down(page, place)


def test_a_token_is_renewed_before_it_ends_without_another_login(place: ReadingPlace) -> None:
    def renewals() -> list[Exchange]:
        asked = (one for one in page.seen.exchanges.values() if one.url.endswith("/token"))
        return [one for one in asked if one.method == "POST" and one.ended_at]

    with opened(place.link) as page:
        log_in(page, READER, issuer=place.issuer)
        look(page, viewports=2)
        page.until(lambda: len(renewals()) >= 2, "another token", within_s=_WITHIN_S)

        assert {one.status for one in renewals()} == {200}
        assert page.evaluate("location.href") == place.link
        assert page.seen.complaints == []


def test_who_logs_out_comes_back_and_has_to_log_in_again(
    place: ReadingPlace, tmp_path: Path
) -> None:
    with opened(place.link) as page:
        log_in(page, READER, issuer=place.issuer)
        look(page, viewports=1)
        page.open(f"{place.node}/logout")
        page.until(
            lambda: page.evaluate(f"location.href.startsWith('{place.node}/logged-out')"),
            "the way back",
            within_s=_WITHIN_S,
        )
        page.until(
            lambda: "Log in again" in page.evaluate("document.body.innerText"),
            "a page",
            within_s=10,
        )
        page.screenshot(tmp_path / "out.png")
        page.open(place.link)
        log_in(page, READER, issuer=place.issuer)
        look(page, viewports=1)


@pytest.fixture(scope="module")
def outside(viewer: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReadingPlace]:
    """`teleprefetch up --oidc` with the npm package oidc-provider."""
    skip_without_provider()
    log, port = tmp_path_factory.mktemp("up") / "up.log", free_port()
    node = f"http://127.0.0.1:{port}"
    with run_provider(viewer_origin=node) as issuer, log.open("w") as output:
        process = subprocess.Popen(
            [COMMAND, "up", "--samples", "--viewer", viewer, "--port", str(port),
             "--oidc", issuer, "--oidc-client", "ohif", "--oidc-reader", READER.subject],
            stdout=output, stderr=output,
        )  # fmt: skip
        try:
            link, folder = _told_by_up(log, process)
            yield ReadingPlace(node, issuer, link, Path(folder))
        finally:
            process.send_signal(2)
            assert process.wait(30) == 0


def _told_by_up(log: Path, process: "subprocess.Popen[bytes]") -> tuple[str, str]:
    ends = time.monotonic() + 120
    while time.monotonic() < ends:
        text = log.read_text()
        if found := re.search(r"^logs +(\S+)$.*\nOpen\n(\S+)\n", text, re.DOTALL | re.MULTILINE):
            return found[2], found[1]
        assert process.poll() is None, text
        time.sleep(0.1)
    raise AssertionError(log.read_text())


def test_a_provider_of_others_logs_the_reader_in(outside: ReadingPlace, tmp_path: Path) -> None:
    with opened(outside.link) as page:
        log_in_at_provider(page, READER.subject, issuer=outside.issuer)
        try:
            assert_reads_the_assigned_study(page, outside)
        finally:
            page.screenshot(tmp_path / "outside.png")
        assert_no_token_is_written_down(page, outside)


def test_who_is_not_assigned_it_sees_none_with_a_provider_of_others_either(
    outside: ReadingPlace, tmp_path: Path
) -> None:
    with opened(outside.link) as page:
        log_in_at_provider(page, COLLEAGUE.subject, issuer=outside.issuer)
        try:
            assert_sees_no_study(page)
        finally:
            page.screenshot(tmp_path / "outside-refused.png")
