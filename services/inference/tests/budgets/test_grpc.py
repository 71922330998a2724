"""Budgets and prices by their RPCs."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from services.inference.tests.budgets.budgeting import BudgetHarness
from services.inference.tests.fakes import ADA, asking, question
from services.inference.tests.openai_api.apis import settings
from tidemill.inference.v1 import budget_pb2, price_pb2
from tidemill.inference.v1 import budget_service_pb2 as pb
from tidemill.inference.v1 import price_service_pb2 as prices_pb
from tidemill.inference.v1.budget_service_pb2_grpc import BudgetServiceStub, add_BudgetServiceServicer_to_server
from tidemill.inference.v1.price_service_pb2_grpc import PriceServiceStub, add_PriceServiceServicer_to_server
from tidemill_core.errors import AlreadyExists, InvalidInput, NotFound
from tidemill_inference.budgets.crud import BudgetCrud
from tidemill_inference.budgets.domain.errors import BudgetExhausted
from tidemill_inference.budgets.grpc import GrpcBudgetService
from tidemill_inference.prices.crud import PriceCrud
from tidemill_inference.prices.grpc import GrpcPriceService
from tidemill_testkit.access import access_of, admin_channel
from tidemill_testkit.audit import RecordedCalls
from tidemill_testkit.direct_calls import DirectServer

DAILY = budget_pb2.Budget(
    id="daily",
    per=budget_pb2.BUDGET_PER_END_USER,
    window=budget_pb2.BUDGET_WINDOW_DAY,
    requests=2,
    cost="1.50",
    labels={"team": "support"},
)
RATES = price_pb2.PriceRates(input="2.50", cached_input="1.25", output="10", machine_hour="0.4")


@dataclass
class Api:
    harness: BudgetHarness
    budgets: BudgetServiceStub
    prices: PriceServiceStub


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    harness = BudgetHarness()
    changed = harness.rules.changed
    budgets = BudgetCrud(budgets=harness.budgets, ledger=harness.ledger, clock=harness.clock, changed=changed)
    prices = PriceCrud(prices=harness.prices, clock=harness.clock, changed=changed)
    server = DirectServer(
        settings(),
        [
            (add_BudgetServiceServicer_to_server, GrpcBudgetService(budgets=budgets)),
            (add_PriceServiceServicer_to_server, GrpcPriceService(prices=prices)),
        ],
        access=access_of(),
        audit=RecordedCalls(),
    )
    await server.start()
    await server.set_ready(True)
    async with admin_channel(f"127.0.0.1:{server.port}", project="acme") as channel:
        yield Api(harness, BudgetServiceStub(channel), PriceServiceStub(channel))
    await server.stop(1.0)


async def test_a_budget_is_kept_as_declared_changed_and_deleted(api: Api) -> None:
    made = (await api.budgets.CreateBudget(pb.CreateBudgetRequest(budget=DAILY))).budget
    with pytest.raises(AlreadyExists):
        await api.budgets.CreateBudget(pb.CreateBudgetRequest(budget=DAILY))
    changed = budget_pb2.Budget(id="daily", requests=9)
    updated = await api.budgets.UpdateBudget(
        pb.UpdateBudgetRequest(budget=changed, update_mask=FieldMask(paths=["requests"]))
    )
    listed = (await api.budgets.ListBudgets(pb.ListBudgetsRequest())).budgets
    await api.budgets.DeleteBudget(pb.DeleteBudgetRequest(id="daily"))

    assert (made.project, made.per, made.window, made.cost) == ("acme", DAILY.per, DAILY.window, "1.50")
    assert (updated.budget.requests, updated.budget.cost) == (9, "1.50")
    assert [each.id for each in listed] == ["daily"]
    with pytest.raises(NotFound, match="no budget daily"):
        await api.budgets.GetBudget(pb.GetBudgetRequest(id="daily"))
    again = (await api.budgets.CreateBudget(pb.CreateBudgetRequest(budget=DAILY))).budget
    assert again.requests == 2


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"window": 0}, "budget.window"),
        ({"requests": 0, "cost": ""}, "budget"),
        ({"tokens": -1}, "budget.tokens"),
        ({"cost": "much"}, "budget.cost"),
        ({"cost": "-1"}, "budget.cost"),
        ({"deployment": "No Slug"}, "budget.deployment"),
        ({"id": "No Slug"}, "budget.id"),
        ({"subject": "x" * 300}, "budget.subject"),
    ],
)
async def test_what_is_no_budget_is_refused_by_field(api: Api, changes: dict[str, object], field: str) -> None:
    given = budget_pb2.Budget()
    given.CopyFrom(DAILY)
    for name, value in changes.items():
        setattr(given, name, value)

    with pytest.raises(InvalidInput) as refused:
        await api.budgets.CreateBudget(pb.CreateBudgetRequest(budget=given))

    assert [each.field for each in refused.value.violations] == [field]


async def test_a_budget_counts_from_its_creation_on_and_says_what_is_used_of_it(api: Api) -> None:
    answer = api.harness.answer
    await answer.whole(ADA, question(end_user="u-1"), request=asking("r1"))
    daily = budget_pb2.Budget()
    daily.CopyFrom(DAILY)
    daily.cost = ""
    await api.budgets.CreateBudget(pb.CreateBudgetRequest(budget=daily))

    for name in ("r2", "r3"):
        await answer.whole(ADA, question(end_user="u-1"), request=asking(name))
    with pytest.raises(BudgetExhausted):
        await answer.whole(ADA, question(end_user="u-1"), request=asking("r4"))
    mine = await api.budgets.GetBudgetUsage(pb.GetBudgetUsageRequest(id="daily", of="u-1"))
    others = await api.budgets.GetBudgetUsage(pb.GetBudgetUsageRequest(id="daily", of="u-2"))

    assert (mine.usage.requests, mine.usage.reserved_requests, mine.usage.cost) == (2, 0, "0")
    assert mine.usage.reset_time.ToDatetime() > mine.usage.window_start.ToDatetime()
    assert mine.budget.HasField("exhaust_time")
    assert others.usage.requests == 0
    with pytest.raises(InvalidInput, match="name the end_user"):
        await api.budgets.GetBudgetUsage(pb.GetBudgetUsageRequest(id="daily"))


async def test_changed_rates_are_the_next_version_of_a_price_and_equal_ones_are_none(api: Api) -> None:
    price = price_pb2.Price(id="small", model="smollm2", rates=RATES)
    await api.prices.CreatePrice(prices_pb.CreatePriceRequest(price=price))
    await api.harness.answer.whole(ADA, question(), request=asking("r1"))
    mask = FieldMask(paths=["rates"])

    same = (await api.prices.UpdatePrice(prices_pb.UpdatePriceRequest(price=price, update_mask=mask))).price
    price.rates.output = "20"
    changed = (await api.prices.UpdatePrice(prices_pb.UpdatePriceRequest(price=price, update_mask=mask))).price
    inference = await api.harness.answer.whole(ADA, question(), request=asking("r2"))

    assert [each.version for each in same.versions] == [1]
    assert [(each.version, each.rates.output) for each in changed.versions] == [(1, "10"), (2, "20")]
    assert inference.cost is not None
    assert (inference.cost.items[0].price, inference.cost.items[0].price_version) == ("small", 2)


@pytest.mark.parametrize(
    ("model", "rates", "field"),
    [
        ("", RATES, "price.model"),
        ("gpt@x", RATES, "price.model"),
        ("gpt@0", RATES, "price.model"),
        ("gpt", price_pb2.PriceRates(output="free"), "price.rates.output"),
        ("gpt", price_pb2.PriceRates(input="NaN"), "price.rates.input"),
        ("gpt", price_pb2.PriceRates(input="1e99"), "price.rates.input"),
    ],
)
async def test_what_is_no_price_is_refused_by_field(
    api: Api, model: str, rates: price_pb2.PriceRates, field: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        await api.prices.CreatePrice(
            prices_pb.CreatePriceRequest(price=price_pb2.Price(id="p", model=model, rates=rates))
        )

    assert [each.field for each in refused.value.violations] == [field]
