"""What an answer is given of its conversation, and what the conversation keeps of it."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from services.inference.tests.fakes import (
    ADA,
    AnsweringHarness,
    DirectTemplates,
    ScriptedEngine,
    asking,
    helpdesk,
    question,
)
from tidemill_core.application import Caller, Request, derived_id
from tidemill_core.errors import Blame, DependencyUnavailable
from tidemill_inference.conversations.domain.errors import ConversationOfAnother
from tidemill_inference.conversations.domain.memory import EndUserMemory, Statement, memory_id
from tidemill_inference.conversations.domain.policy import ConversationPolicy
from tidemill_inference.deployments.domain.spec import RecordMode
from tidemill_inference.errors import PromptTooLong
from tidemill_inference.generation.domain.content import Message, Role
from tidemill_inference.generation.domain.errors import PromptNotRecorded, QuestionRefused
from tidemill_inference.generation.domain.inference import Inference, Lease, Variant, reserved
from tidemill_inference.generation.domain.question import Purpose
from tidemill_inference.generation.show_prompt import ShowPrompt
from tidemill_inference.prompts.domain.prompt import PromptContent
from tidemill_testkit.clocks import NOON
from tidemill_testkit.polling import eventually

PLAIN = PromptContent(user="{{ question }}")
DOWN = DependencyUnavailable("it is down", dependency="it", blame=Blame.VARIANT)
POLICY = ConversationPolicy(max_turns=2)
BEN = Caller(project="acme", subject="ben", roles=frozenset({"contributor"}))


def chatting(engine: ScriptedEngine | None = None, **changes: object) -> AnsweringHarness:
    return AnsweringHarness(engine, deployment=helpdesk(retrieval=None, **changes), prompt=PLAIN)


async def ask(
    harness: AnsweringHarness, text: str, request: str = "", *, in_: str = "c1", **changes: object
) -> Inference:
    asked = question(text, **{"conversation": in_, "end_user": "u1", **changes})
    return await harness.answer.whole(ADA, asked, request=asking(request or text, text))


def seen(harness: AnsweringHarness) -> list[str]:
    return [message.text for message in harness.engine.seen[-1].messages]


async def turns(harness: AnsweringHarness, conversation: str = "c1") -> list[str]:
    return [turn.inference for turn in (await harness.conversations.get("acme", conversation)).turns]


async def test_an_answer_is_given_the_turns_before_it_and_its_record_keeps_references_to_them() -> None:
    harness = chatting()

    one = await ask(harness, "one")
    two = await ask(harness, "two")
    three = await ask(harness, "three")

    said = harness.engine.says
    assert seen(harness) == ["one", said, "two", said, "three"]
    assert await turns(harness) == [one.id, two.id, three.id]
    stored = await harness.stored(three)
    assert [message.text for message in stored.messages] == ["three"]
    assert stored.conversation == three.conversation == "c1"
    assert stored.history is not None
    assert stored.history.turns == (one.id, two.id)
    assert three.warnings == ()


async def test_other_conversations_and_questions_without_one_are_given_nothing_of_it() -> None:
    harness = chatting()
    await ask(harness, "one")

    await ask(harness, "two", in_="c2")
    assert seen(harness) == ["two"]
    await ask(harness, "three", in_="")
    assert seen(harness) == ["three"]
    assert len(await turns(harness)) == 1


async def test_a_system_message_of_an_earlier_turn_goes_on_and_is_not_repeated() -> None:
    harness = chatting()
    rules = (Message.of(Role.SYSTEM, "Be short."), Message.of(Role.USER, "one"))
    await ask(harness, "one", messages=rules)

    await ask(harness, "two", messages=(*rules[:1], Message.of(Role.USER, "two")))

    assert seen(harness) == ["Be short.", "one", harness.engine.says, "two"]


async def test_failed_and_cancelled_turns_are_no_history_and_a_retry_comes_last() -> None:
    harness = chatting()
    one = await ask(harness, "one")
    harness.engine.fails_before = DOWN
    with pytest.raises(DependencyUnavailable):
        await ask(harness, "two")
    harness.engine.fails_before = None

    three = await ask(harness, "three")
    assert seen(harness) == ["one", harness.engine.says, "three"]
    assert await turns(harness) == [one.id, three.id]
    two = await ask(harness, "two")
    assert seen(harness) == ["one", harness.engine.says, "three", harness.engine.says, "two"]
    assert await turns(harness) == [one.id, three.id, two.id]


async def test_a_retry_with_the_same_request_id_is_one_turn() -> None:
    harness = chatting()
    one = await ask(harness, "one")
    await ask(harness, "two")

    again = await ask(harness, "one")

    assert again.id == one.id
    assert len(await turns(harness)) == 2
    assert harness.engine.runs == 2


async def test_a_retry_after_the_conversation_was_deleted_does_not_begin_it_again() -> None:
    harness = chatting()
    await ask(harness, "one")
    await harness.conversations.update(
        "acme", "c1", lambda stored: setattr(stored, "deleted", True), request=Request.internal()
    )

    await ask(harness, "one")

    assert (await harness.conversations.get_many("acme", ["c1"])) == {}


async def test_concurrent_turns_keep_the_order_of_their_beginning_and_see_what_was_complete() -> None:
    harness = chatting()
    await ask(harness, "one")
    harness.engine.gate.clear()
    two = asyncio.create_task(ask(harness, "two"))
    await eventually(lambda: harness.engine.runs == 2)
    three = asyncio.create_task(ask(harness, "three"))
    await eventually(lambda: harness.engine.runs == 3)
    assert seen(harness) == ["one", harness.engine.says, "three"]
    harness.engine.gate.set()

    answers = [await two, await three]

    assert (await turns(harness))[1:] == [answer.id for answer in answers]
    await ask(harness, "four")
    assert [text for text in seen(harness) if text != harness.engine.says] == ["one", "two", "three", "four"]


async def test_many_turns_at_once_on_two_replicas_are_all_kept() -> None:
    harness = chatting()
    await ask(harness, "first")
    replicas = [harness.answer, harness.replica()]

    async def turn(number: int) -> Inference:
        asked = question(f"q{number}", conversation="c1", end_user="u1")
        return await replicas[number % 2].whole(ADA, asked, request=asking(f"r{number}"))

    answers = await asyncio.gather(*(turn(number) for number in range(6)))

    assert {*(await turns(harness))} >= {answer.id for answer in answers}
    conversation = await harness.conversations.get("acme", "c1")
    assert [turn.number for turn in conversation.turns] == list(range(1, 8))


async def test_a_turn_whose_process_died_while_answering_is_no_history_until_it_is_answered() -> None:
    harness = chatting()
    await ask(harness, "one")
    dead = reserved(
        question("two", conversation="c1", end_user="u1", record=RecordMode.FULL),
        inference_id="dead",
        project="acme",
        request_id="r2",
        digest="d",
    )
    lease = Lease(owner="dead", epoch=0, until=NOON + timedelta(seconds=15))
    variant = Variant(name="live", configuration="c", model="m@1", prompt="p@1")
    await harness.inferences.upsert(
        dead, lambda stored: stored.reserve(lease, dead, variant=variant, now=NOON), request=Request.internal()
    )
    await harness.conversations.update(
        "acme",
        "c1",
        lambda stored: stored.begin("dead", now=NOON, ended={}, max_turns=9, sliding=False, due=False),
        request=Request.internal(),
    )

    await ask(harness, "three")
    assert seen(harness) == ["one", harness.engine.says, "three"]
    assert "dead" in await turns(harness)
    harness.clock.advance(timedelta(hours=2))
    await ask(harness, "four")
    assert "dead" not in await turns(harness)


async def test_a_turn_that_has_its_place_from_a_process_that_died_keeps_it_when_it_is_asked_again() -> None:
    harness = chatting()
    one = await ask(harness, "one")
    two = derived_id("acme", "inference", "r2")
    await harness.conversations.update(
        "acme",
        "c1",
        lambda stored: stored.begin(two, now=NOON, ended={}, max_turns=9, sliding=False, due=False),
        request=Request.internal(),
    )

    await ask(harness, "two", "r2")

    assert await turns(harness) == [one.id, two]


async def test_another_end_user_cannot_go_on_with_a_conversation_also_for_a_caller_who_acts_for_users() -> None:
    harness = chatting()
    await ask(harness, "one")

    for caller, end_user in ((ADA, "u2"), (BEN, "ben"), (BEN, "")):
        asked = question("two", conversation="c1", end_user=end_user)
        with pytest.raises(ConversationOfAnother, match="another end user"):
            await harness.answer.whole(caller, asked, request=asking("r2"))
    assert harness.engine.runs == 1


async def test_who_acts_for_users_and_names_none_goes_on_for_the_end_user_of_the_conversation() -> None:
    harness = chatting()
    await ask(harness, "one")

    answer = await ask(harness, "two", end_user="")

    assert answer.end_user == "u1"
    assert seen(harness)[0] == "one"


async def test_a_conversation_is_of_one_deployment() -> None:
    harness = chatting()
    await ask(harness, "one")
    other = replace(helpdesk(retrieval=None), id="other")
    await harness.deployments.add(other, request=Request.internal())

    with pytest.raises(QuestionRefused, match="answered by deployment helpdesk"):
        await ask(harness, "two", deployment="other")


@pytest.mark.parametrize("mode", [RecordMode.METADATA, RecordMode.NONE])
async def test_a_deployment_that_keeps_no_text_has_no_conversations(mode: RecordMode) -> None:
    with pytest.raises(QuestionRefused, match="needs full records"):
        await ask(chatting(record=mode), "one")


async def test_a_turn_whose_record_is_lowered_is_given_the_history_and_not_kept() -> None:
    harness = chatting()
    await ask(harness, "one")

    answer = await ask(harness, "two", record=RecordMode.NONE)

    assert seen(harness) == ["one", harness.engine.says, "two"]
    assert answer.warnings == ("this turn is not kept in the conversation: its record mode is lower than FULL",)
    assert len(await turns(harness)) == 1
    assert (await harness.stored(answer)).conversation == ""


@pytest.mark.parametrize("name", ["a b", "-a", "x" * 129, "a/b", "ä"])
async def test_names_that_are_no_ids_are_refused(name: str) -> None:
    with pytest.raises(QuestionRefused, match="use 1 to 128"):
        await ask(chatting(), "one", in_=name)


async def test_evaluations_have_no_conversation() -> None:
    with pytest.raises(QuestionRefused, match="LIVE only"):
        await ask(chatting(), "one", purpose=Purpose.EVALUATION)


async def test_the_policy_gives_the_last_turns_and_the_answer_says_what_was_cut() -> None:
    harness = chatting(conversation=POLICY)
    for text in ("one", "two", "three"):
        await ask(harness, text)

    answer = await ask(harness, "four")

    assert [text for text in seen(harness) if text != harness.engine.says] == ["two", "three", "four"]
    assert answer.warnings == ("history cut: 1 earlier turns are not given to the model",)


async def test_what_does_not_fit_the_model_is_an_error_without_a_policy_and_cut_with_one() -> None:
    engine = ScriptedEngine(context_tokens=40, says=" ".join(["word"] * 12))
    for policy in (None, ConversationPolicy(max_turns=9)):
        harness = chatting(engine, conversation=policy)
        for text in ("one", "two"):
            await ask(harness, text)
        if policy is None:
            with pytest.raises(PromptTooLong):
                await ask(harness, "three")
            continue
        answer = await ask(harness, "three")
        assert answer.warnings == ("history cut: the oldest 1 of 2 turns did not fit the model",)
        assert seen(harness) == ["two", engine.says, "three"]
        stored = await harness.stored(answer)
        assert stored.history is not None
        assert len(stored.history.turns) == 1


async def test_a_full_conversation_is_refused_without_a_policy_and_slides_with_one() -> None:
    for policy in (None, POLICY):
        harness = chatting(conversation=policy)
        harness.answer = replace(harness.answer, conversing=harness.joining(max_turns=2))
        for text in ("one", "two"):
            await ask(harness, text)
        if policy is None:
            with pytest.raises(QuestionRefused, match="has 2 turns, its limit"):
                await ask(harness, "three")
            continue
        await ask(harness, "three")
        answer = await ask(harness, "four")
        assert len(await turns(harness)) == 2
        assert answer.warnings == ("history cut: 2 earlier turns are not given to the model",)


async def test_what_is_remembered_of_an_end_user_stands_before_the_question_also_outside_of_conversations() -> None:
    harness = chatting(conversation=ConversationPolicy(memory_model="smollm2"))
    memory = EndUserMemory(id=memory_id("acme", "u1"), project="acme", end_user="u1")
    stated = Statement(texts=["Lives in Bergen."], deployment="helpdesk", inference="i1", ask_time=NOON)
    memory.learn(stated, end_user="u1", max_facts=5, now=NOON)
    await harness.memories.add(memory, request=Request.internal())

    answer = await ask(harness, "one", in_="")

    assert "- Lives in Bergen." in seen(harness)[0]
    stored = await harness.stored(answer)
    assert stored.history is not None
    assert stored.history.memories == (f"{memory.id}-1@0",)
    await ask(harness, "one", "other user", in_="", end_user="u2")
    assert seen(harness) == ["one"]


async def test_a_prompt_that_has_a_place_for_memory_is_given_it_there() -> None:
    prompt = PromptContent(user="{{ memory | join('; ') }} {{ question }}")
    harness = AnsweringHarness(
        deployment=helpdesk(retrieval=None, conversation=ConversationPolicy(memory_model="smollm2")), prompt=prompt
    )
    memory = EndUserMemory(id=memory_id("acme", "u1"), project="acme", end_user="u1")
    stated = Statement(texts=["Likes tea."], deployment="helpdesk", inference="i1", ask_time=NOON)
    memory.learn(stated, end_user="u1", max_facts=5, now=NOON)
    await harness.memories.add(memory, request=Request.internal())

    await ask(harness, "one")

    assert seen(harness) == ["Likes tea. one"]


async def test_the_prompt_of_an_answer_is_shown_with_the_history_that_it_was_given() -> None:
    harness = chatting()
    one = await ask(harness, "one")
    two = await ask(harness, "two")
    show = ShowPrompt(
        reading=harness.reading,
        prompts=harness.prompts,
        templates=DirectTemplates(),
        texts=NoTexts(),
        conversing=harness.joining(),
    )

    shown = await show(ADA, two.id)

    assert [message.text for message in shown.messages] == seen(harness) == ["one", harness.engine.says, "two"]
    assert (shown.question, [message.text for message in shown.earlier]) == ("two", ["one", harness.engine.says])
    await harness.inferences.update("acme", one.id, lambda record: record.erase(now=NOON), request=Request.internal())
    with pytest.raises(PromptNotRecorded, match="an earlier turn"):
        await show(ADA, two.id)


class NoTexts:
    """An ingest that is not asked."""

    async def get(self, caller: Caller, document: str, version: int) -> str:
        raise AssertionError((caller, document, version))
