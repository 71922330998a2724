"""The budgets and prices of projects, cached for a moment: no answer asks the store for them."""

import time
from dataclasses import dataclass, field
from functools import partial

from cachetools import LRUCache

from tidemill_core.errors import DependencyUnavailable
from tidemill_core.resources import list_all
from tidemill_core.single_flight import SingleFlight
from tidemill_inference.budgets.ports import Budgets, Rules
from tidemill_inference.prices.domain.price import PriceBook
from tidemill_inference.prices.ports import Prices

_MAX_PROJECTS = 10_000


@dataclass(slots=True, kw_only=True)
class _Known:
    rules: Rules
    at: float


@dataclass(slots=True, kw_only=True)
class CachedRules:
    """Implements `ports.RulesOf`. What is older than `ttl_s` is read again beside the call that finds it so.

    A change by another replica counts after twice that time at the latest, one by this replica at once. While the store
    is down the last known rules count. Of several calls at the same time one reads.
    """

    budgets: Budgets
    prices: Prices
    currency: str
    ttl_s: float
    _known: LRUCache[str, _Known] = field(default_factory=lambda: LRUCache(_MAX_PROJECTS))
    _reading: SingleFlight[str, Rules] = field(default_factory=lambda: SingleFlight("read rules"))

    async def of(self, project: str) -> Rules:
        """See `RulesOf.of`."""
        known, now = self._known.get(project), time.monotonic()
        read = partial(self._read, project)
        if known is None or now - known.at > 2 * self.ttl_s:
            try:
                return await self._reading(project, read)
            except DependencyUnavailable:
                if known is None:
                    raise
                return known.rules
        if now - known.at > self.ttl_s:
            self._reading.begin(project, read)
        return known.rules

    def changed(self, project: str) -> None:
        """Read the rules of a project again, which have changed."""
        self._known.pop(project, None)
        self._reading.forget(project)

    @property
    def projects(self) -> set[str]:
        """The projects whose rules are in memory."""
        return set(self._known)

    async def forget(self, project: str) -> int:
        """Forget the rules of a project; return how many projects that were."""
        known = int(project in self._known)
        self.changed(project)
        return known

    async def _read(self, project: str) -> Rules:
        begun = time.monotonic()
        budgets = [each async for each in list_all(self.budgets, project)]
        prices = [each async for each in list_all(self.prices, project)]
        rules = Rules(budgets=budgets, prices=PriceBook(prices, currency=self.currency))
        if self._reading.is_current(project):  # else it may be from before a change
            self._known[project] = _Known(rules=rules, at=begun)
        return rules
