"""When a question takes its place in its conversation, and which places become free."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest

from services.inference.tests.budgets.budgeting import BudgetHarness, budget
from services.inference.tests.budgets.ledgers import InMemoryLedger
from services.inference.tests.conversations.test_join import ask, chatting, turns
from services.inference.tests.fakes import AnsweringHarness
from tidemill_core.application import Request
from tidemill_core.errors import InvalidInput
from tidemill_inference.budgets.domain.budget import Kind
from tidemill_inference.budgets.domain.errors import BudgetExhausted
from tidemill_inference.budgets.domain.hold import CountState, Hold, Refusal
from tidemill_inference.conversations.domain.conversation import Conversation
from tidemill_inference.conversations.domain.policy import ConversationPolicy
from tidemill_inference.generation.domain.errors import QuestionRefused
from tidemill_testkit.clocks import NOON


async def place(harness: AnsweringHarness, inference: str) -> None:
    """Have another question take a place, and go no further."""
    await harness.conversations.upsert(
        Conversation(id="c1", project="acme", deployment="helpdesk", end_user="u1"),
        lambda stored: stored.begin(inference, now=NOON, ended={}, max_turns=9, sliding=True, due=False),
        request=Request.internal(),
    )


async def test_questions_that_are_refused_take_no_place() -> None:
    harness = BudgetHarness(budget(requests=1))
    one = await ask(harness, "one")
    with pytest.raises(InvalidInput):
        await ask(harness, "two", variables={"absent": "x"})
    for conversation in ("c1", "c2"):
        with pytest.raises(BudgetExhausted):
            await ask(harness, "three", conversation, in_=conversation)

    assert await turns(harness) == [one.id]
    assert (await harness.conversations.get_many("acme", ["c2"])) == {}


class Overtaking(InMemoryLedger):
    """Another question takes the last place while one reserves."""

    harness: AnsweringHarness | None = None

    async def reserve(self, hold: Hold) -> Refusal | Mapping[str, CountState]:
        assert self.harness is not None
        await place(self.harness, "other")
        return await super().reserve(hold)


async def test_a_question_that_another_took_the_last_place_from_gives_back_what_it_has_reserved() -> None:
    ledger = Overtaking()
    harness = ledger.harness = BudgetHarness(budget(requests=5), ledger=ledger)
    harness.answer = replace(harness.answer, conversing=harness.joining(max_turns=1))

    with pytest.raises(QuestionRefused, match="has 1 turns, its limit"):
        await ask(harness, "one")

    (stored,) = ledger.stored
    assert ledger.state_of(stored).reserved == {}
    assert ledger.state_of(stored).used.get("daily", {}).get(Kind.REQUESTS, 0) == 0
    assert await turns(harness) == ["other"]
    assert harness.inferences.all() == []


async def test_places_of_processes_that_died_before_the_record_are_free_in_minutes() -> None:
    harness = chatting(conversation=ConversationPolicy(max_turns=1))
    one = await ask(harness, "one")
    for number in range(3):
        await place(harness, f"dead {number}")
    assert len(await turns(harness)) == 4

    harness.clock.advance(timedelta(minutes=6))
    two = await ask(harness, "two")

    assert await turns(harness) == [one.id, two.id]
    assert (await harness.conversations.get("acme", "c1")).dropped == 0
