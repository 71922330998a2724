"""Puts budgets and prices together."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from tidemill.inference.v1.budget_service_pb2_grpc import add_BudgetServiceServicer_to_server
from tidemill.inference.v1.price_service_pb2_grpc import add_PriceServiceServicer_to_server
from tidemill_core.application import Aggregates, SystemClock
from tidemill_inference.budgets.crud import BudgetCrud
from tidemill_inference.budgets.domain.budget import Per, Window
from tidemill_inference.budgets.domain.errors import BudgetNotFound
from tidemill_inference.budgets.domain.hold import Count
from tidemill_inference.budgets.grpc import GrpcBudgetService
from tidemill_inference.budgets.mongo import BUDGETS, COUNTS, MongoLedger
from tidemill_inference.budgets.records import RecordedSpending
from tidemill_inference.budgets.rules import CachedRules
from tidemill_inference.budgets.spending import SeenCounts, SpendBudgets
from tidemill_inference.budgets.sweep_holds import SweepHolds
from tidemill_inference.generation.domain.inference import Inference
from tidemill_inference.prices.crud import PriceCrud
from tidemill_inference.prices.domain.price import PriceNotFound
from tidemill_inference.prices.grpc import GrpcPriceService
from tidemill_inference.prices.mongo import PRICES
from tidemill_inference.settings import InferenceSettings
from tidemill_kit.erasure.documents import documents
from tidemill_kit.erasure.steps import Step, Target
from tidemill_kit.grpc.server import Registration
from tidemill_kit.service.backend import Backend
from tidemill_kit.store.mongo import Collection
from tidemill_kit.workers.controller import Controller
from tidemill_kit.workers.sweeps import SweepKey, sweep_controller

TOPIC = "tidemill.inference.budget.v1"
_BATCH = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetParts:
    """What budgets and prices are made of."""

    rules: CachedRules
    spending: SpendBudgets
    servicers: list[Registration]
    ledger: MongoLedger
    budgets: Collection
    prices: Collection
    sweeps: Controller[SweepKey]

    @property
    def of_projects(self) -> Sequence[Step]:
        """What is erased with a project."""
        return [
            documents("budgets", self.budgets),
            documents("prices", self.prices),
            documents("budget counts", self.ledger.counts),
        ]

    @property
    def of_end_users(self) -> Sequence[Step]:
        """What is erased of an end user."""
        return [Step(kind="budget counts", erase=self.erase_counts_of)]

    async def erase_counts_of(self, target: Target) -> int:
        """Remove a batch of an end user's counts; return how many."""
        start = Window.DAY.start(SystemClock().now())
        count = Count(project=target.project, per=Per.END_USER, of=target.subject, window=Window.DAY, start=start)
        return await self.ledger.erase_of(count, limit=_BATCH)


def wire_budgets(settings: InferenceSettings, backend: Backend, inferences: Aggregates[Inference]) -> BudgetParts:
    """Return budgets and prices; `inferences` are the records of answers."""
    clock = SystemClock()
    budgets = backend.aggregates(
        "budgets", BUDGETS, missing=BudgetNotFound, topic=TOPIC, quota=settings.quota("budgets")
    )
    prices = backend.aggregates("prices", PRICES, missing=PriceNotFound, quota=settings.quota("prices"))
    ledger = backend.indexed(MongoLedger(backend.database[COUNTS]))
    rules = CachedRules(budgets=budgets, prices=prices, currency=settings.currency, ttl_s=settings.budgets_recheck_s)
    spending = SpendBudgets(
        rules=rules,
        ledger=ledger,
        budgets=budgets,
        clock=clock,
        output_tokens=settings.budget_output_tokens,
        seen=SeenCounts(ledger=ledger, ttl_s=settings.budgets_recheck_s),
    )
    budget_crud = BudgetCrud(budgets=budgets, ledger=ledger, clock=clock, changed=rules.changed)
    sweep = SweepHolds(ledger=ledger, records=RecordedSpending(inferences), clock=clock)
    price_crud = PriceCrud(prices=prices, clock=clock, changed=rules.changed)
    return BudgetParts(
        rules=rules,
        spending=spending,
        servicers=[
            (add_BudgetServiceServicer_to_server, GrpcBudgetService(budgets=budget_crud)),
            (add_PriceServiceServicer_to_server, GrpcPriceService(prices=price_crud)),
        ],
        ledger=ledger,
        budgets=backend.database["budgets"],
        prices=backend.database["prices"],
        sweeps=sweep_controller(
            {"ended_reservations": sweep.charge_ended, "old_budget_counts": sweep.remove_old},
            leases=backend.leases("leases_of_budgets"),
            poll_interval=timedelta(seconds=settings.budget_sweep_poll_interval_s),
        ),
    )
