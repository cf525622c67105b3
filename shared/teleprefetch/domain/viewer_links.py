"""The address that opens a study in the viewer, beside a prior or by itself."""

from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

from teleprefetch.assignment import Notice, PriorWarmth

_SIDE_BY_SIDE: Final = "@ohif/hpCompare"  # shows the second study it is given beside the first


def viewer_link(viewer_url: str, current: str, prior: str | None = None) -> str:
    """The address that opens a study beside a prior, as OHIF takes it.

    Source: OHIF documentation, "URL parameters" (`StudyInstanceUIDs`, `hangingProtocolId`).
    """
    if prior is None:
        return f"{viewer_url}?StudyInstanceUIDs={current}"
    protocol = quote(_SIDE_BY_SIDE, safe="@/")
    return f"{viewer_url}?StudyInstanceUIDs={current},{prior}&hangingProtocolId={protocol}"


def best_link(viewer_url: str, current: str, priors: Iterable[PriorWarmth]) -> str:
    """The address that opens a study beside the best prior that is warm, or by itself."""
    warm = [prior for prior in priors if prior.warm == "warm"]
    best = min(warm, key=lambda prior: prior.rank).study_instance_uid if warm else None
    return viewer_link(viewer_url, current, best)


def with_links(notice: Notice, viewer_url: str | None) -> Notice:
    """The notice with a link for it and for each prior; as it is without a viewer, or a study.

    The notice's own link opens the best prior that is warm, of which a reader sees most at once.
    """
    current = notice.study_instance_uid
    if viewer_url is None or current is None:
        return notice

    def linked(prior: PriorWarmth) -> PriorWarmth:
        link = viewer_link(viewer_url, current, prior.study_instance_uid)
        return prior.model_copy(update={"link": link})

    return notice.model_copy(
        update={
            "link": best_link(viewer_url, current, notice.priors),
            "priors": tuple(linked(prior) for prior in notice.priors),
        }
    )
