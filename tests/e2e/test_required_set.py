"""The site's required set on the whole stack: the notice goes out warm while the rest goes on."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pydicom
import pytest

from teleprefetch import runtime
from teleprefetch.local import demo_input
from teleprefetch.local.stack import LocalStack, StackOptions
from teleprefetch.run_records import notice_run_id
from tests.e2e.conftest import Site
from tests.waiting import until

GATE_RULES = '{"high": {"required_priors": 1}, "stat": {"deadline_s": 0}}'


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A stack whose link is slow, so that there is time between the first prior and the last."""
    today = datetime.now(UTC).date()
    folder = tmp_path_factory.mktemp("samples") / "all"
    samples = demo_input.made_up(folder, today=today, scale=0.2)
    options = StackOptions(
        bandwidth_bps=4_000_000,
        parameters={"GateRules": GATE_RULES, "ViewerUrl": "http://127.0.0.1:9/viewer"},
    )
    with LocalStack(options) as stack:
        yield Site(stack, samples)


def test_the_notice_is_warm_with_the_first_prior_and_study_warm_follows_with_the_rest(
    site: Site,
) -> None:
    # of its studies' age none is prefetched by the import, so that all comes with the assignment
    site.import_files(site.samples.history, "history")
    uid = _newest_with_priors(site)

    site.assign("required-1", uid, seconds=90)

    notice = site.notice("required-1", within_s=120)
    assert notice.reason == "warm"
    assert notice.current is not None
    assert notice.current.is_warm
    assert notice.priors[0].warm == "warm"
    assert not notice.is_complete
    assert any(prior.warm in {"cold", "partial"} for prior in notice.priors)
    assert "frames proven" in notice.why
    assert notice.link is not None
    assert notice.link.startswith(f"http://127.0.0.1:9/viewer?StudyInstanceUIDs={uid},")

    def late_warm() -> Any:
        run = runtime.runs().run(notice_run_id("required-1"))
        return run is not None and run.warm_at

    until(late_warm, "Study Warm", within_s=120)


def _newest_with_priors(site: Site) -> str:
    """The CT of the history that has the most earlier studies of its region."""
    studies = {
        (str(header.StudyDate), str(header.StudyInstanceUID))
        for path in site.samples.history
        if (header := pydicom.dcmread(path, stop_before_pixels=True)).Modality == "CT"
        and "CHEST" in str(header.get("StudyDescription", "")).upper()
        and str(header.StudyInstanceUID) not in site.samples.strangers
    }
    return max(studies)[1]
