"""A console with something to show, shared by the tests of a module."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from moto import mock_aws

from teleprefetch.local.login.people import OPERATOR
from tests.console.audits import an_audit
from tests.console.console_site import busy_site
from tests.console.running import Running, running_console
from tests.console.visiting import Visitor


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One for tests that only look."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        with mock_aws():
            now = datetime.now(UTC)
            audit = an_audit(tmp_path_factory.mktemp("audit") / "node-a", now)
            with running_console(busy_site(now), audits=(audit,)) as running:
                yield running


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """One of the test's own, without an audit."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws(), running_console(busy_site(datetime.now(UTC))) as running:
        yield running


@pytest.fixture
def operator(console: Running) -> Visitor:
    visitor = Visitor(console.url)
    visitor.log_in(OPERATOR)
    return visitor
