"""The budgets and prices of projects, cached for a moment: no answer asks the store for them."""

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass, field

from tidemill_core.errors import DependencyUnavailable
from tidemill_core.resources import list_all
from tidemill_inference.budgets.ports import Budgets, Rules
from tidemill_inference.prices.domain.price import PriceBook
from tidemill_inference.prices.ports import Prices

_MAX_PROJECTS = 10_000


@dataclass(slots=True, kw_only=True)
class _Known:
    rules: Rules
    at: float
    refreshing: asyncio.Task[None] | None = None


@dataclass(slots=True, kw_only=True)
class CachedRules:
    """Implements `ports.RulesOf`. What is older than `ttl_s` is read again beside the call that finds it so.

    A change by another replica counts after twice that time at the latest, one by this replica at once. While the store
    is down the last known rules count.
    """

    budgets: Budgets
    prices: Prices
    currency: str
    ttl_s: float
    _known: OrderedDict[str, _Known] = field(default_factory=OrderedDict)

    async def of(self, project: str) -> Rules:
        """See `RulesOf.of`."""
        known, now = self._known.get(project), time.monotonic()
        if known is None or now - known.at > 2 * self.ttl_s:
            try:
                return await self._read(project)
            except DependencyUnavailable:
                if known is None:
                    raise
                return known.rules
        if now - known.at > self.ttl_s and (known.refreshing is None or known.refreshing.done()):
            known.refreshing = asyncio.create_task(self._refresh(project), name=f"rules of {project}")
        return known.rules

    def forget(self, project: str) -> None:
        """Read the rules of a project again, which have changed."""
        self._known.pop(project, None)

    async def _refresh(self, project: str) -> None:
        try:
            await self._read(project)
        except DependencyUnavailable:
            return  # the next call tries again

    async def _read(self, project: str) -> Rules:
        begun = time.monotonic()
        budgets = [each async for each in list_all(self.budgets, project)]
        prices = [each async for each in list_all(self.prices, project)]
        rules = Rules(budgets=budgets, prices=PriceBook(prices, currency=self.currency))
        self._known[project] = _Known(rules=rules, at=begun)
        self._known.move_to_end(project)
        if len(self._known) > _MAX_PROJECTS:
            self._known.popitem(last=False)
        return rules
