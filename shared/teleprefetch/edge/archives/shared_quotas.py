"""A node's part in the quotas of its archives, by its settings: a keeper and its thread."""

import threading
from collections.abc import Callable, Mapping

from teleprefetch.adapters.retrying import RetryPolicy
from teleprefetch.domain.quota import HEALTHIMAGING_QUOTAS, Quota, by_operation
from teleprefetch.domain.scheduling import Lane, Operation
from teleprefetch.edge.archives.metered import MeteredOrigin, MeteredOrigins
from teleprefetch.edge.archives.quota_keeper import QuotaKeeper
from teleprefetch.edge.store.counters import Counted
from teleprefetch.ports import Origin, QuotaLedger
from teleprefetch.settings import HealthImagingOrigin, NodeSettings


class SharedQuotas:
    """Opened with the node, started and closed with it.

    Args:
        settings: the node's.
        ledger: what all nodes share.
        queued: how many fetches wait in each lane.
        wake: called when tokens have come.
        count: counts what the keeper counts.
    """

    def __init__(
        self,
        settings: NodeSettings,
        ledger: QuotaLedger,
        *,
        queued: Callable[[], Mapping[Lane, int]],
        wake: Callable[[], None],
        count: Callable[[Counted], None],
    ) -> None:
        self.gate = QuotaKeeper(
            ledger,
            quotas_of(settings),
            groups=groups_of(settings),
            readers_share=settings.quota_readers_share,
            queued=queued,
            wake=wake,
            count=count,
        )
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self.gate.run, args=(self._ended,), name="quotas")

    def for_readers(
        self, origins: Mapping[str, Origin], retries: RetryPolicy
    ) -> Mapping[str, Origin]:
        """The origins, with each of their requests counted, and tried again."""
        return MeteredOrigins(origins, reads=self.gate, retries=retries)

    def for_reader(self, origin_id: str, origin: Origin, retries: RetryPolicy) -> Origin:
        """The same for one origin."""
        return MeteredOrigin(origin_id, origin, reads=self.gate, retries=retries)

    def start(self) -> None:
        """Begin to talk to the ledger."""
        self._thread.start()

    def close(self) -> None:
        """Leave off."""
        self._ended.set()
        self.gate.end()
        if self._thread.is_alive():
            self._thread.join()


def groups_of(settings: NodeSettings) -> dict[str, str]:
    """The group of each HealthImaging archive: its region.

    Limits are an account's in a region (developer guide, "Throttling limits"), so that its data
    stores draw on the same; which of them a service counts alone is not documented.
    """
    return {
        origin_id: f"healthimaging@{origin.region}"
        for origin_id, origin in settings.origins.items()
        if isinstance(origin, HealthImagingOrigin)
    }


def quotas_of(settings: NodeSettings) -> dict[str, dict[Operation, Quota]]:
    """The quotas of each group: HealthImaging's, as the settings change them."""
    changed = {
        operation: Quota(rate.per_second, rate.burst) for operation, rate in settings.quotas.items()
    }
    quotas = by_operation({**HEALTHIMAGING_QUOTAS, **changed})
    return dict.fromkeys(groups_of(settings).values(), quotas)
