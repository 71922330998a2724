"""Answers of a project that has declared budgets and prices."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

from services.inference.tests.budgets.ledgers import InMemoryLedger
from services.inference.tests.fakes import AnsweringHarness, ScriptedEngine, ScriptedEngines, helpdesk
from tidemill_inference.budgets.domain.budget import Budget, Window
from tidemill_inference.budgets.domain.errors import BudgetNotFound
from tidemill_inference.budgets.mongo import BUDGETS
from tidemill_inference.budgets.ports import Ledger
from tidemill_inference.budgets.rules import CachedRules
from tidemill_inference.budgets.spending import SeenCounts, SpendBudgets
from tidemill_inference.deployments.domain.configuration import Sampling
from tidemill_inference.engines.observed import ObservedEngine
from tidemill_inference.engines.ports import Engine, Engines, ModelVersion
from tidemill_inference.generation.answer import AnswerQuestion
from tidemill_inference.prices.domain.price import Price, PriceNotFound, PriceVersion, Rates
from tidemill_inference.prices.mongo import PRICES
from tidemill_testkit.clocks import NOON
from tidemill_testkit.stores import InMemoryAggregates

LIMITED = {"retrieval": None, "sampling": Sampling(max_output_tokens=20)}


def budget(name: str = "daily", **limits: object) -> Budget:
    return Budget(id=name, project="acme", **{"window": Window.DAY, **limits})  # type: ignore[arg-type]


def price(model: str = "smollm2", *, name: str = "", **rates: str) -> Price:
    made = Price(id=name or model.replace("@", "-"), project="acme", model=model, rates=Rates(**rates))
    made.versions = (PriceVersion(version=1, rates=made.rates, create_time=NOON),)
    return made


class ObservedEngines(ScriptedEngines):
    """Engines as the pool has them: each call is metered."""

    def __init__(self, engines: Engines) -> None:
        super().__init__()
        self._engines = engines

    @asynccontextmanager
    async def use(self, project: str, model: ModelVersion) -> AsyncIterator[Engine]:
        async with self._engines.use(project, model) as engine:
            yield ObservedEngine(engine, project=project, model=model.id)


class BudgetHarness(AnsweringHarness):
    """An answer whose engines are metered, by budgets and prices."""

    def __init__(
        self,
        *declared: Budget | Price,
        engine: ScriptedEngine | None = None,
        ledger: Ledger | None = None,
        **fallbacks: ScriptedEngine,
    ) -> None:
        self.budgets = InMemoryAggregates(
            *(each for each in declared if isinstance(each, Budget)), codec=BUDGETS, missing=BudgetNotFound
        )
        self.prices = InMemoryAggregates(
            *(each for each in declared if isinstance(each, Price)), codec=PRICES, missing=PriceNotFound
        )
        self.ledger = ledger or InMemoryLedger()
        self.rules = CachedRules(budgets=self.budgets, prices=self.prices, currency="USD", ttl_s=5)
        deployment = helpdesk(**LIMITED, fallback=tuple(fallbacks))
        super().__init__(engine, deployment=deployment, **fallbacks)  # type: ignore[arg-type] # they are engines

    def replica(self, *, ttl: timedelta = timedelta(seconds=15), at_most: int = 1000) -> AnswerQuestion:
        answer = super().replica(ttl=ttl, at_most=at_most)
        make = replace(answer.make, engines=ObservedEngines(self.engines))
        return replace(answer, make=make, spending=self.spending())

    def spending(self) -> SpendBudgets:
        seen = SeenCounts(ledger=self.ledger, ttl_s=5)
        return SpendBudgets(
            rules=self.rules, ledger=self.ledger, budgets=self.budgets, clock=self.clock, output_tokens=1000, seen=seen
        )
