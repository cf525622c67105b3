"""`teleprefetch up` as its user sees it: what it prints is enough to ask with a token."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3

COMMAND = Path(sys.executable).parent / "teleprefetch"


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("up") / "up.log"
    with log.open("w") as output:
        process = subprocess.Popen([COMMAND, "up"], stdout=output, stderr=output)
    try:
        ends = time.monotonic() + 60
        while "the status is for" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < ends, log.read_text()
            time.sleep(0.05)
        yield log.read_text()
    finally:
        process.send_signal(2)
        assert process.wait(30) == 0
    assert list(_header_files(printed_text=log.read_text())) == []


def _header_files(printed_text: str) -> Iterator[Path]:
    for name in re.findall(r"curl -H @(\S+)", printed_text):
        if Path(name).exists():
            yield Path(name)


def test_the_operators_token_shows_the_status_and_the_readers_does_not(printed: str) -> None:
    [url] = re.findall(r"^status +(\S+)$", printed, re.MULTILINE)
    statuses = {}
    for path in _header_files(printed):
        assert path.stat().st_mode & 0o077 == 0
        name, _, value = path.read_text().strip().partition(": ")
        answer = urllib3.request("GET", f"{url}.json", headers={name: value}, retries=False)
        statuses[path.stem] = answer.status

    assert statuses.pop("operator-1") == 200
    assert set(statuses) == {"reader-1", "reader-2"}
    assert 200 not in statuses.values()
    assert urllib3.request("GET", f"{url}.json", retries=False).status == 401


def test_no_token_is_printed(printed: str) -> None:
    assert "eyJ" not in printed
    tokens = [path.read_text().partition("Bearer ")[2].strip() for path in _header_files(printed)]
    assert len(tokens) == 3
    assert all(part not in printed for token in tokens for part in token.split("."))


def test_the_issuer_that_is_named_answers(printed: str) -> None:
    [issuer] = re.findall(r"^issuer of tokens +(\S+)$", printed, re.MULTILINE)

    document = urllib3.request("GET", f"{issuer}/.well-known/openid-configuration").json()

    assert document["issuer"] == issuer
