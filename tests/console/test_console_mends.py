"""An operator with nothing but the console finds why a prior was not there, and replays it.

On the local stack, in a browser: the archive fails for one prior while a reader is assigned.
"""

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from teleprefetch import runtime
from teleprefetch.local import demo_input
from teleprefetch.local.console_process import running_console
from teleprefetch.local.healthimaging.wire import ServiceError
from teleprefetch.local.login.people import OPERATOR
from teleprefetch.local.stack import LocalStack, StackOptions
from teleprefetch.run_records import Run, RunFilter, notice_run_id
from tests.browser import Page, open_browser, skip_without_chromium
from tests.e2e.conftest import SCALE, Site
from tests.login import log_in
from tests.waiting import until

# moto says so, in its server's threads, whenever somebody asks for the stack's resources
pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse AWS")
WITHIN_S = 60


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A stack whose node is soon out of patience, with a study imported and warm."""
    skip_without_chromium()
    folder = tmp_path_factory.mktemp("samples") / "all"
    samples = demo_input.made_up(folder, today=datetime.now(UTC).date(), scale=SCALE)
    impatient = {"ORIGIN_PATIENCE_S": "2"}
    with LocalStack(StackOptions(node_variables=impatient)) as stack:
        site = Site(stack, samples)
        site.import_files(samples.history, "history")
        site.import_files(samples.current, "current")
        yield site


@pytest.fixture(scope="module")
def console(site: Site) -> Iterator[str]:
    token = site.stack.folder / "operator.token"
    token.touch(mode=0o600)
    token.write_text(site.stack.token_for(OPERATOR))
    with running_console(site.stack, token_path=token) as url:
        yield url


def text_of(page: Page) -> str:
    return str(page.evaluate("document.body?.innerText ?? ''"))


def wait_for(page: Page, words: str) -> str:
    page.until(lambda: words in text_of(page), words, within_s=WITHIN_S)
    return text_of(page)


def shoot(page: Page, folder: Path, name: str) -> None:
    shots = Path(os.environ.get("CONSOLE_SHOTS", folder))
    shots.mkdir(parents=True, exist_ok=True)
    height = page.evaluate("document.documentElement.scrollHeight")
    page.size(1280, min(4000, int(height)))
    page.screenshot(shots / f"mends-{name}.png")
    page.size(1280, 900)


def lose_a_prior(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the node lose what it holds, and the archive fail for one prior."""
    store, uid = site.stack.data_store, site.samples.study_instance_uid
    holdings = site.stack.node.holdings()["series"]
    prior = next(one for one in holdings if one["study_instance_uid"] != uid)
    lost = {one["image_set_id"] for one in site.held(prior["study_instance_uid"])}
    site.stack.node.stop()
    shutil.rmtree(site.stack.folder / "store")
    site.stack.node.start()
    perform = store._perform

    def failing(found: Any, request: Any) -> Any:
        if any(image_set_id in request.target for image_set_id in lost):
            raise ServiceError("InternalServerException", "said by the test")
        return perform(found, request)

    monkeypatch.setattr(store, "_perform", failing)


def ended(run_id: str) -> Run:
    """A prefetch's record, once it has ended."""

    def look() -> Run | None:
        run = runtime.runs().run(run_id)
        return run if run is not None and run.ended_at is not None else None

    return Run.model_validate(until(look, "the end of the replay", within_s=WITHIN_S))


def notice_run(assignment_id: str) -> Run:
    return Run.model_validate(runtime.runs().run(notice_run_id(assignment_id)))


def test_an_operator_finds_why_and_replays_it_and_it_is_warm(
    site: Site, console: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as broken:
        lose_a_prior(site, broken)
        site.assign("missed-1", site.samples.study_instance_uid, seconds=30)
        assert site.notice("missed-1").reason == "partial"
        site.quiet()

    with open_browser() as page:
        page.size(1280, 900)
        page.open(console)
        log_in(page, OPERATOR, issuer=site.stack.provider.issuer)
        assert "partial" in wait_for(page, "as of")
        shoot(page, tmp_path, "now")
        page.open(f"{console}/find")
        wait_for(page, "A study, run, assignment or event")
        page.evaluate("document.getElementById('what').value = 'missed-1'; 0")
        page.evaluate("document.querySelector('form[action=\"/why\"] button').click(); 0")
        told = wait_for(page, "What happened")
        assert "the archive does not answer" in told
        assert "notice out, partial" in told
        shoot(page, tmp_path, "why")

        page.evaluate("document.querySelector('main form button').click(); 0")
        preview = wait_for(page, "Confirm")
        assert "none is sent again" in preview
        page.evaluate("document.getElementById('reason').value = 'archive is back'; 0")
        page.evaluate("document.querySelector('button.act').click(); 0")
        done = wait_for(page, "Replays of 24 hours")
        assert "-r1" in done
        shoot(page, tmp_path, "done")

        [record] = runtime.runs().find(RunFilter(kind="replay"), limit=9)
        assert record.execution_arn is not None
        again = ended(record.execution_arn.rpartition(":")[2])
        assert (again.outcome, again.cause) == ("warm", "")
        until(lambda: notice_run("missed-1").warm_at, "Study Warm", within_s=WITHIN_S)
        site.quiet()
        page.open(f"{console}/studies/{site.samples.study_instance_uid}")
        after = wait_for(page, "Its newest prefetch is warm.")
        assert "archive is back" in after
        assert after.count("notice out") == 1
        assert "Study Warm: all that was planned is proven" in after
        shoot(page, tmp_path, "after")
        page.open(console)
        assert "replayed: ✓ warm" in wait_for(page, "as of")
        assert page.seen.complaints == []

    assert record.by == f"{site.stack.provider.issuer}#{OPERATOR.subject}"
    assert record.reason == "archive is back"
