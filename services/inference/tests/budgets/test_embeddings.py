"""Embeddings count in the budgets of their project."""

import pytest

from services.inference.tests.batches.batch_harness import FakeEmbedder
from services.inference.tests.budgets.budgeting import BudgetHarness, budget, price
from services.inference.tests.budgets.ledgers import InMemoryLedger
from services.inference.tests.fakes import ADA
from tidemill_core.errors import NotFound
from tidemill_inference.budgets.domain.budget import Budget, Kind
from tidemill_inference.budgets.domain.errors import BudgetExhausted, PriceMissing
from tidemill_inference.budgets.domain.hold import CountState
from tidemill_inference.embeddings.embed import EmbedTexts
from tidemill_inference.prices.domain.price import Price


class Harness:
    """Embeddings of a project with budgets and prices."""

    def __init__(self, *declared: Budget | Price) -> None:
        self._budgets, self.embedder = BudgetHarness(*declared), FakeEmbedder()
        self.embed = EmbedTexts(embedder=self.embedder, spending=self._budgets.spending())

    @property
    def state(self) -> CountState:
        assert isinstance(self._budgets.ledger, InMemoryLedger)
        (stored,) = self._budgets.ledger.stored
        return self._budgets.ledger.state_of(stored)


async def test_texts_are_charged_by_their_tokens_and_a_call_is_one_request() -> None:
    harness = Harness(budget(requests=2, tokens=10_000, cost="1"), price("words", input="1000"))

    await harness.embed(ADA, model="words", texts=["a tree", *["leaf"] * 99])

    assert harness.embedder.calls == [64, 36]
    assert harness.state.used == {"daily": {Kind.REQUESTS: 1, Kind.TOKENS: 101, Kind.COST: 101 * 10**6}}
    assert harness.state.reserved == {}


async def test_what_a_budget_has_too_little_for_is_not_asked() -> None:
    harness = Harness(budget(tokens=100))

    with pytest.raises(BudgetExhausted):
        await harness.embed(ADA, model="words", texts=["leaf"] * 20)

    assert harness.embedder.calls == []


async def test_a_call_that_fails_costs_nothing() -> None:
    harness = Harness(budget(requests=1))
    with pytest.raises(NotFound):
        await harness.embed(ADA, model="gone", texts=["leaf"])

    await harness.embed(ADA, model="words", texts=["leaf"])

    assert harness.state.used == {"daily": {Kind.REQUESTS: 1}}


async def test_a_model_without_a_price_is_refused_and_a_collection_charged_by_the_model_it_has() -> None:
    harness = Harness(budget(cost="1"), price("words@1", input="1000"))
    with pytest.raises(PriceMissing):
        await Harness(budget(cost="1")).embed(ADA, model="words", texts=["leaf"])

    await harness.embed(ADA, model="collection:handbook", texts=["leaf"])

    assert harness.state.used == {"daily": {Kind.COST: 10**6}}
