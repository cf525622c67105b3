"""Leaves out of an order what its study's cap, or the archive's for a day, does not pay for."""

import logging
from typing import Final

from teleprefetch.domain.warming_cost import MICRO, Prices, beyond, priced
from teleprefetch.errors import PrefetchError
from teleprefetch.model import Plan
from teleprefetch.ports import Clock, QuotaLedger
from teleprefetch.quotas import Ask

_LOG: Final = logging.getLogger(__name__)
_DAY_S: Final = 86_400


class Costs:
    """The caps of a node; those of a day are shared by all nodes, in the ledger of quotas.

    Args:
        study_cap_usd: what an order may cost; 0 is no cap.
        daily_cap_usd: what an archive's orders of a day may cost, over all nodes; 0 is no cap.
        ledger: where a day's costs are added up.
        clock: which day it is.
        prices: what things cost.
    """

    def __init__(
        self,
        *,
        study_cap_usd: float,
        daily_cap_usd: float,
        ledger: QuotaLedger,
        clock: Clock,
        prices: Prices | None = None,
    ) -> None:
        self._study_cap_usd = study_cap_usd
        self._daily_cap_usd = daily_cap_usd
        self._ledger = ledger
        self._clock = clock
        self._prices = prices or Prices()

    def left_out(self, plan: Plan) -> dict[int, str]:
        """The series that are not paid for, by position in the plan, and why.

        The current study is never left out. A series counts with the most it can cost, though the
        store may hold some of it.
        """
        series = priced(plan.series, self._prices)
        left_out: dict[int, str] = {}
        if self._study_cap_usd:
            why = f"left out: more than US$ {self._study_cap_usd:g} for this study"
            left_out |= dict.fromkeys(beyond(series, round(self._study_cap_usd * MICRO)), why)
        if self._daily_cap_usd:
            rest = [one for one in series if one.at not in left_out]
            paid = self._paid_today(plan.origin_id, sum(one.micro_usd for one in rest))
            why = f"left out: more than US$ {self._daily_cap_usd:g} today for this archive"
            left_out |= dict.fromkeys(beyond(rest, paid), why)
        return left_out

    def _paid_today(self, origin_id: str, micro_usd: int) -> int:
        """How much of that the day still pays for; all, while the ledger is away."""
        day = int(self._clock().timestamp() // _DAY_S)
        ask = Ask(day, tokens=micro_usd, limit=round(self._daily_cap_usd * MICRO))
        try:
            return self._ledger.lease(f"{origin_id}#cost", ask).granted
        except PrefetchError as error:
            _LOG.warning("the day's costs are not known, and not capped: %s", type(error).__name__)
            return micro_usd
