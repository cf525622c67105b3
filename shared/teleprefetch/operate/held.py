"""Whether nodes hold, now, what a prefetch was to warm."""

from teleprefetch.errors import PrefetchError
from teleprefetch.model import WarmReport
from teleprefetch.operate.site import Site
from teleprefetch.run_records import Run


def is_held(site: Site, run: Run) -> bool | None:
    """True if a node of the prefetch proves every frame planned; None if no node can be asked.

    A node is asked for each study of its last report, and reads it back to answer. Where a node
    does not answer, the question stays open: a replay then does no harm, for what is held is not
    fetched again.
    """
    reports = site.progress.reports(run.run_id)
    if run.kind != "prefetch" or not reports:
        return None
    told = [_held_by(site, report) for report in reports]
    if any(one is True for one in told):
        return True
    return False if all(one is False for one in told) else None


def _held_by(site: Site, report: WarmReport) -> bool | None:
    if report.state != "warm":
        return False
    try:
        return all(
            site.node_http.frames_held(report.node, study.study_instance_uid)
            >= study.frames_planned
            for study in report.studies
        )
    except PrefetchError:
        return None
