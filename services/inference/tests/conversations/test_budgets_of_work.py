"""Summaries and facts are asked out of the budgets of their project and deployment, and wait where these are spent."""

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import pytest

from services.inference.tests.budgets.budgeting import BudgetHarness, budget, price
from services.inference.tests.budgets.ledgers import InMemoryLedger
from services.inference.tests.conversations.test_join import ask, chatting
from services.inference.tests.conversations.test_work import Asked, Working
from tidemill_core.application import Caller
from tidemill_inference.budgets.domain.budget import Budget, Kind, Per
from tidemill_inference.budgets.domain.metering import metered
from tidemill_inference.conversations.domain.conversation import Conversation
from tidemill_inference.conversations.domain.policy import ConversationPolicy
from tidemill_inference.conversations.mongo import CONVERSATIONS, ConversationsWithWork
from tidemill_inference.generation.domain.content import Message
from tidemill_inference.prices.domain.price import Price
from tidemill_kit.store import mongo
from tidemill_local import Addresses
from tidemill_testkit.clocks import NOON, FixedClock
from tidemill_testkit.stack import unique_name


class Metered(Asked):
    """A model of which each call takes 100 tokens and gives 10."""

    async def __call__(
        self, caller: Caller, model: str, messages: Sequence[Message], *, max_output_tokens: int, timeout_s: float
    ) -> str:
        with metered(model) as attempt:
            attempt.finish(100, 10, 0)
        return await super().__call__(caller, model, messages, max_output_tokens=max_output_tokens, timeout_s=timeout_s)


class Budgeted(Working):
    """The worker of a conversation of three turns, in a project with budgets and prices."""

    def __init__(self, *declared: Budget | Price, **policy: str) -> None:
        self.budgets, self.model = BudgetHarness(*declared), Metered()
        harness = chatting(conversation=ConversationPolicy(max_turns=2, **policy))  # type: ignore[arg-type] # as given
        super().__init__(harness, self.model, self.budgets.spending())

    async def chat(self) -> None:
        for text in ("one", "two", "three"):
            await ask(self.harness, text)

    def used(self) -> list[object]:
        assert isinstance(self.budgets.ledger, InMemoryLedger)
        return [self.budgets.ledger.state_of(each).used for each in self.budgets.ledger.stored]

    def pass_time(self, span: timedelta) -> None:
        self.harness.clock.advance(span)
        self.budgets.clock.advance(span)


@pytest.mark.parametrize(("policy", "calls"), [({"summary_model": "smollm2"}, 1), ({"memory_model": "smollm2"}, 3)])
async def test_what_models_of_conversations_use_is_charged_at_its_price(policy: dict[str, str], calls: int) -> None:
    daily = budget(per=Per.DEPLOYMENT, requests=9, tokens=100_000, cost="1")
    work = Budgeted(daily, price(input="1000", output="0"), **policy)
    await work.chat()

    assert await work() is None

    used = {Kind.REQUESTS: calls, Kind.TOKENS: 110 * calls, Kind.COST: 10**8 * calls}
    assert work.used() == [{"daily": used}]


async def test_neither_a_subject_nor_an_end_user_pays_for_it() -> None:
    own = budget("own", per=Per.END_USER, requests=1), budget("keys", per=Per.SUBJECT, requests=1)
    work = Budgeted(*own, budget("other", requests=1, deployment="another"), memory_model="smollm2")
    await work.chat()

    await work()

    assert (work.used(), len(work.model.prompts)) == ([], 3)


async def test_work_that_a_budget_has_nothing_left_for_waits_until_its_window_ends() -> None:
    work = Budgeted(budget(requests=1), memory_model="smollm2")
    await work.chat()

    assert await work() is None
    waiting = await work.conversation()
    assert (len(work.model.prompts), waiting.learned) == (1, 1)
    assert waiting.wait_until == work.harness.clock.now() + timedelta(hours=1)
    assert not waiting.due
    assert await work() is None
    assert len(work.model.prompts) == 1

    for _ in range(2):
        work.pass_time(timedelta(days=1))
        await work()

    done = await work.conversation()
    assert (len(work.model.prompts), done.learned) == (3, 3)
    assert not done.has_work(work.harness.clock.now() + timedelta(days=9))


async def test_the_next_turn_tries_again_at_once() -> None:
    work = Budgeted(budget(requests=1), memory_model="smollm2")
    await work.chat()
    await work()

    await ask(work.harness, "four")

    assert (await work.conversation()).has_work(work.harness.clock.now())


async def test_a_model_without_a_price_is_not_asked_where_money_is_limited() -> None:
    work = Budgeted(budget(cost="1"), summary_model="smollm2")
    await work.chat()

    assert await work() is None
    assert work.model.prompts == []
    assert not (await work.conversation()).due


@pytest.fixture
async def collection(stack: Addresses) -> AsyncIterator[mongo.Collection]:
    client, name = mongo.connect(stack.mongo, timeout_s=10), unique_name("conversations")
    yield client[name]["conversations"]
    await client.drop_database(name)
    client.close()


async def test_conversations_that_wait_are_found_when_their_time_has_come(collection: mongo.Collection) -> None:
    clock = FixedClock(NOON)
    pending = ConversationsWithWork(collection, clock)
    await pending.ensure_indexes()
    for name, due, wait_until in (
        ("busy", True, None),
        ("done", False, None),
        ("later", False, NOON + timedelta(hours=1)),
    ):
        made = Conversation(id=name, project="acme", deployment="helpdesk", due=due, wait_until=wait_until)
        state = CONVERSATIONS.encode(made)
        await collection.insert_one(
            {"_id": f"acme/{name}", "id": name, "project": "acme", "deleted": False, "state": state}
        )

    early = await found(pending)
    clock.advance(timedelta(hours=1))

    assert (early, await found(pending)) == (["busy"], ["busy", "later"])
    assert await found(pending, without=frozenset({"acme"})) == []


async def found(pending: ConversationsWithWork, *, without: frozenset[str] = frozenset()) -> list[str]:
    page = await pending("", without=without)
    keys = list(page.items)
    while page.next_token:
        page = await pending(page.next_token, without=without)
        keys += page.items
    return [each.id for each in keys]
