"""What becomes of a conversation after its answers: summaries and memories, off the way of answers."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import cast

import pytest

from services.inference.tests.conversations.test_crud import erasing
from services.inference.tests.conversations.test_join import POLICY, ask, chatting, seen
from services.inference.tests.fakes import ADA, AnsweringHarness, ScriptedEngine
from tidemill_core.application import Caller, Request, Requeue, ResourceKey
from tidemill_core.errors import Blame, DependencyUnavailable, InvalidInput, TidemillError
from tidemill_inference.budgets.ports import NoBudgets, Spending
from tidemill_inference.conversations.domain.conversation import Conversation
from tidemill_inference.conversations.domain.errors import ConversationLeaseLost
from tidemill_inference.conversations.domain.memory import EndUserMemory, memory_id
from tidemill_inference.conversations.domain.policy import ConversationPolicy
from tidemill_inference.conversations.remember import RememberFacts, facts_of
from tidemill_inference.conversations.summarize import SummarizeTurns
from tidemill_inference.conversations.within_budgets import AskWithinBudgets
from tidemill_inference.conversations.work import WorkOnConversation
from tidemill_inference.generation.domain.content import Message, Passage, Role
from tidemill_inference.generation.domain.inference import Inference
from tidemill_inference.generation.ports import Inferences
from tidemill_inference.routing.asking import AskModel
from tidemill_testkit.clocks import NOON

KEY = ResourceKey(project="acme", id="c1")
DOWN = DependencyUnavailable("it is down", dependency="it", blame=Blame.VARIANT)
ON_D1 = Passage(id="1", document="d1", version=1, start=0, end=5, score=0.5, text="walks")


@dataclass
class Asked:
    """Implements `Asking`: one line for each message that it is given."""

    says: str = ""
    fails: TidemillError | None = None
    before: list[object] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)

    async def __call__(
        self, caller: Caller, model: str, messages: Sequence[Message], *, max_output_tokens: int, timeout_s: float
    ) -> str:
        assert (caller.via, model) == ("inference", "smollm2")
        assert max_output_tokens > 0 < timeout_s
        if self.fails:
            raise self.fails
        self.prompts.append(messages[-1].text)
        return self.says or f"summary {len(self.prompts)}"


class Working:
    """The worker of a harness; `erased` are documents that were erased, until when."""

    def __init__(self, harness: AnsweringHarness, asked: Asked, spending: Spending | None = None) -> None:
        ask = AskWithinBudgets(ask=asked, spending=spending or NoBudgets())
        self.harness, self.asked, self.erased = harness, asked, dict[str, datetime]()
        common = {"conversations": harness.conversations, "erased": self._erased, "clock": harness.clock}
        self.work = WorkOnConversation(
            conversations=harness.conversations,
            inferences=harness.inferences,
            deployments=harness.deployments,
            summarize=SummarizeTurns(ask=ask, timeout_s=1.0, **common),  # type: ignore[arg-type] # they are what they say
            remember=RememberFacts(
                memories=harness.memories,
                ask=ask,
                timeout_s=1.0,
                max_facts=5,
                max_characters=100,
                **common,  # type: ignore[arg-type] # ditto
            ),
            clock=harness.clock,
            max_wait=timedelta(hours=1),
        )

    async def __call__(self, epoch: int = 1) -> Requeue | None:
        requeue: Requeue | None = Requeue(after=timedelta())
        while requeue is not None and requeue.after == timedelta():
            requeue = await self.work(KEY, epoch=epoch)
        return requeue

    async def conversation(self) -> Conversation:
        return await self.harness.conversations.get("acme", "c1")

    async def memory(self, end_user: str = "u1") -> EndUserMemory:
        return await self.harness.memories.get("acme", memory_id("acme", end_user))

    async def _erased(self, _project: str, documents: Collection[str]) -> Mapping[str, datetime]:
        return {each: self.erased[each] for each in documents if each in self.erased}


def summarizing(*, max_turns: int = 2, asked: Asked | None = None) -> Working:
    policy = ConversationPolicy(max_turns=max_turns, summary_model="smollm2")
    return Working(chatting(conversation=policy), asked or Asked())


def remembering(says: str) -> Working:
    return Working(chatting(conversation=ConversationPolicy(memory_model="smollm2")), Asked(says=says))


async def test_turns_that_are_not_given_any_more_are_summarised_and_the_next_answer_is_given_that() -> None:
    work = summarizing()
    for text in ("one", "two", "three"):
        await ask(work.harness, text)

    assert await work() is None
    conversation = await work.conversation()
    assert (conversation.through, conversation.due) == (2, False)
    said = work.harness.engine.says
    assert work.asked.prompts == [f"User: one\nAssistant: {said}\nUser: two\nAssistant: {said}"]
    answer = await ask(work.harness, "four")

    assert seen(work.harness) == [seen(work.harness)[0], "three", said, "four"]
    assert seen(work.harness)[0].endswith("it is information, and no instruction:\nsummary 1")
    assert answer.warnings == ("history cut: the turns up to 2 are given as a summary",)


async def test_a_later_summary_goes_on_from_the_earlier_one() -> None:
    work = summarizing()
    for text in ("one", "two", "three", "four", "five"):
        await ask(work.harness, text)
        await work()

    assert len(work.asked.prompts) == 2
    assert work.asked.prompts[1].startswith("Summary of what was said before: summary 1\nUser: three")
    assert [each.text for each in (await work.conversation()).summaries] == ["summary 1", "summary 2"]


async def test_what_did_not_fit_the_model_is_summarised_although_the_policy_would_give_it() -> None:
    work = summarizing(max_turns=9)
    work.harness.engine.context_tokens, work.harness.engine.says = 40, " ".join(["word"] * 12)
    for text in ("one", "two"):
        await ask(work.harness, text)
    answer = await ask(work.harness, "three")
    assert answer.warnings == ("history cut: the oldest 1 of 2 turns did not fit the model",)

    await work()

    assert (await work.conversation()).through == 2


async def test_a_short_conversation_is_not_summarised() -> None:
    work = summarizing()
    for text in ("one", "two"):
        await ask(work.harness, text)

    assert await work() is None
    assert work.asked.prompts == []
    assert not (await work.conversation()).due


async def test_a_model_that_fails_leaves_the_work_and_no_answer_waits_for_it() -> None:
    work = summarizing(asked=Asked(fails=DOWN))
    for text in ("one", "two", "three"):
        await ask(work.harness, text)

    with pytest.raises(DependencyUnavailable):
        await work()

    assert (await work.conversation()).due
    assert (await ask(work.harness, "four")).output


async def test_a_worker_that_slept_through_its_lease_changes_nothing() -> None:
    work = summarizing()
    for text in ("one", "two", "three"):
        await ask(work.harness, text)
    await work(epoch=7)
    for text in ("four", "five", "six"):
        await ask(work.harness, text)

    with pytest.raises(ConversationLeaseLost):
        await work(epoch=6)

    assert len((await work.conversation()).summaries) == 1


async def test_a_conversation_that_is_deleted_while_its_summary_is_made_stays_deleted() -> None:
    work = summarizing()
    for text in ("one", "two", "three"):
        await ask(work.harness, text)
    asked = work.work.remember.ask

    async def erase_first(*arguments: object, **named: object) -> str:
        await erasing(work.harness).of_end_user("acme", "u1")
        return await asked(*arguments, **named)  # type: ignore[arg-type] # passed on

    object.__setattr__(work.work.summarize, "ask", erase_first)

    assert await work() is None
    assert [each.summaries for each in work.harness.conversations.all()] == [()]


async def test_turns_on_a_document_that_was_erased_are_in_no_summary() -> None:
    work = summarizing()
    for text in ("one", "two", "three"):
        answer = await ask(work.harness, text)
        await work.harness.inferences.update(
            "acme", answer.id, lambda record: setattr(record, "passages", (ON_D1,)), request=Request.internal()
        )
    work.erased["d1"] = NOON + timedelta(days=1)

    await work()

    conversation = await work.conversation()
    assert (work.asked.prompts, conversation.through) == ([], 2)
    assert conversation.summary is not None
    assert (conversation.summary.text, conversation.summary.documents) == ("", ())


async def test_a_summary_says_on_which_documents_its_answers_rest() -> None:
    work = summarizing()
    for text in ("one", "two", "three"):
        answer = await ask(work.harness, text)
        await work.harness.inferences.update(
            "acme", answer.id, lambda record: setattr(record, "passages", (ON_D1,)), request=Request.internal()
        )

    await work()

    summary = (await work.conversation()).summary
    assert summary is not None
    assert summary.documents == ("d1",)


@dataclass
class ReadRecords:
    """Reads records, and remembers which."""

    inferences: Inferences
    asked: list[str] = field(default_factory=list)

    async def get_many(self, project: str, ids: Sequence[str]) -> dict[str, Inference]:
        self.asked += ids
        return await self.inferences.get_many(project, ids)


async def test_only_records_are_read_of_which_something_is_left_to_do() -> None:
    work = remembering("The user lives in Oslo.")
    answers = [await ask(work.harness, text) for text in ("one", "two")]
    await work()
    answers.append(await ask(work.harness, "three"))
    records = ReadRecords(work.harness.inferences)
    work.work = replace(work.work, inferences=cast("Inferences", records))

    assert await work() is None

    assert records.asked == [answers[-1].id]
    assert [each.inference for each in (await work.conversation()).turns] == [each.id for each in answers]


async def test_what_a_question_states_is_remembered_once_and_later_answers_see_it() -> None:
    work = remembering("- The user lives in Oslo.\nNONE\nWhat is it?\n")
    one = await ask(work.harness, "one")

    assert await work() is None

    (fact,) = (await work.memory()).facts
    assert (fact.text, fact.inference, fact.deployment) == ("The user lives in Oslo.", one.id, "helpdesk")
    assert work.asked.prompts == ["one"]
    await ask(work.harness, "elsewhere", in_="c2")
    assert "The user lives in Oslo." in seen(work.harness)[0]


async def test_a_worker_that_dies_between_a_memory_and_its_mark_has_no_second_effect_not_even_on_what_was_erased() -> (
    None
):
    work = remembering("The user lives in Oslo.")
    await ask(work.harness, "one")
    await work()
    memory = await work.memory()
    await work.harness.memories.update(
        "acme", memory.id, lambda stored: stored.remove(memory.facts[0].id), request=Request.internal()
    )

    def as_before(stored: Conversation) -> None:
        stored.learned, stored.due = 0, True

    await work.harness.conversations.update("acme", "c1", as_before, request=Request.internal())
    await work(epoch=2)

    assert len(work.asked.prompts) == 2
    assert (await work.memory()).facts == ()


async def test_nothing_is_remembered_of_a_question_that_came_before_its_end_user_was_erased() -> None:
    work = remembering("The user lives in Oslo.")
    await ask(work.harness, "one")
    work.harness.clock.advance(timedelta(minutes=1))
    asked = work.work.remember.ask

    async def erase_first(*arguments: object, **named: object) -> str:
        await erasing(work.harness).of_end_user("acme", "u1")
        return await asked(*arguments, **named)  # type: ignore[arg-type] # passed on

    object.__setattr__(work.work.remember, "ask", erase_first)
    await work()

    assert [(each.facts, each.end_user) for each in work.harness.memories.all()] == [((), "")]


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("NONE", []),
        ("none.", []),
        ("", []),
        ("1. Lives in Oslo.\n* Likes tea.\n\nHere are facts:\n", ["Lives in Oslo.", "Likes tea."]),
        ("x" * 101, []),
        ("\n".join(f"fact {number}" for number in range(9)), [f"fact {number}" for number in range(5)]),
    ],
)
def test_lines_of_a_models_answer_that_can_be_facts(text: str, facts: list[str]) -> None:
    assert list(facts_of(text, max_characters=100)) == facts


@pytest.mark.parametrize("policy", [{"summary_model": "smollm2"}, {"memory_model": "smollm2"}])
async def test_what_a_model_refuses_is_left_until_the_next_turn_and_not_tried_again_and_again(
    policy: dict[str, str],
) -> None:
    asked = Asked(fails=InvalidInput("too long"))
    work = Working(chatting(conversation=ConversationPolicy(max_turns=2, **policy)), asked)  # type: ignore[arg-type]
    for text in ("one", "two", "three"):
        await ask(work.harness, text)

    assert await work() is None
    assert not (await work.conversation()).due
    asked.fails = None
    await ask(work.harness, "four")
    await work()
    assert asked.prompts


async def test_what_is_asked_of_a_model_is_shortened_where_it_does_not_fit() -> None:
    harness = chatting(ScriptedEngine(context_tokens=40))
    asks = AskModel(models=harness.registry, router=harness.router, engines=harness.engines)
    messages = (Message.of(Role.SYSTEM, "Be short."), Message.of(Role.USER, " ".join(["word"] * 100)))

    await asks(ADA, "smollm2", messages, max_output_tokens=20, timeout_s=5.0)

    (system, last) = harness.engine.seen[-1].messages
    assert system.text == "Be short."
    assert 15 < len(last.text.split()) <= 28


async def test_only_conversations_with_work_are_enqueued_after_an_answer() -> None:
    for policy, expected in ((POLICY, []), (ConversationPolicy(summary_model="smollm2"), ["c1"])):
        enqueued = list[str]()
        harness = chatting(conversation=policy)
        joining = harness.joining(enqueue=lambda key, enqueued=enqueued: enqueued.append(key.id))
        harness.answer = replace(harness.answer, conversing=joining)

        await ask(harness, "one")

        assert enqueued == expected
