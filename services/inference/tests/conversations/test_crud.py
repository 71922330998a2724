"""Whose conversations and memories are shown, corrected and erased."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

from services.inference.tests.conversations.test_join import ask, chatting
from services.inference.tests.fakes import ADA, AnsweringHarness, writing
from tidemill_core.application import Caller, PageRequest, Request
from tidemill_core.errors import Conflict, InvalidInput
from tidemill_inference.conversations.crud import ConversationCrud, EraseConversations, MemoryCrud
from tidemill_inference.conversations.domain.conversation import Conversation, Summary
from tidemill_inference.conversations.domain.errors import ConversationNotFound, MemoryNotFound
from tidemill_inference.conversations.domain.memory import EndUserMemory, Statement, memory_id
from tidemill_inference.generation.domain.inference import State
from tidemill_inference.generation.erase_end_user import EraseEndUser
from tidemill_testkit.clocks import NOON

U1 = Caller(project="acme", subject="u1", roles=frozenset({"contributor"}))
U2 = Caller(project="acme", subject="u2", roles=frozenset({"contributor"}))
ALL = PageRequest()


@dataclass
class Ended:
    """Implements `ports.Ended` on the stores of a harness."""

    harness: AnsweringHarness
    removed: list[str] = field(default_factory=list)

    async def of_end_user(self, project: str, end_user: str, *, limit: int) -> int:
        return await self._remove(lambda each: (each.project, each.end_user) == (project, end_user), limit)

    async def resting_on(self, project: str, document: str, *, limit: int) -> tuple[list[str], list[str]]:
        assert project
        conversations = [
            each.id
            for each in self.harness.conversations.all()
            if any(document in summary.documents for summary in each.summaries)
        ]
        memories = [
            each.id for each in self.harness.memories.all() if any(document in fact.documents for fact in each.facts)
        ]
        return conversations[:limit], memories[:limit]

    async def older(self, project: str, before: datetime, *, deployment: str = "", limit: int) -> list[str]:
        raise AssertionError((project, before, deployment, limit))

    async def remove_old(self, project: str, before: datetime, *, deployment: str = "", limit: int) -> int:
        raise AssertionError((project, before, deployment, limit))

    async def _remove(self, which: Callable[[Conversation], bool], limit: int) -> int:
        def end(stored: Conversation) -> None:
            stored.forget()
            stored.deleted = True

        found = [each for each in self.harness.conversations.all() if not each.deleted and which(each)][:limit]
        for each in found:
            await self.harness.conversations.update(
                each.project,
                each.id,
                end,
                request=Request.internal(),
            )
        return len(found)


def erasing(harness: AnsweringHarness) -> EraseConversations:
    return EraseConversations(
        conversations=harness.conversations, memories=harness.memories, ended=Ended(harness), clock=harness.clock
    )


def crud(harness: AnsweringHarness) -> ConversationCrud:
    async def states(project: str, inferences: Collection[str]) -> Mapping[str, State]:
        found = (await harness.inferences.get_many(project, list(inferences))).values()
        return {each.id: each.state for each in found if each.state in (State.RESERVED, State.COMPLETED)}

    return ConversationCrud(conversations=harness.conversations, states=states)


def facts(harness: AnsweringHarness) -> MemoryCrud:
    return MemoryCrud(memories=harness.memories, clock=harness.clock, max_characters=40)


async def remember(
    harness: AnsweringHarness, *texts: str, end_user: str = "u1", at: datetime = NOON, documents: tuple[str, ...] = ()
) -> EndUserMemory:
    fresh = EndUserMemory(id=memory_id("acme", end_user), project="acme", end_user=end_user)
    stated = Statement(
        texts=texts, deployment="helpdesk", inference=f"i-{'-'.join(texts)}", ask_time=at, documents=documents
    )
    return await harness.memories.upsert(
        fresh,
        lambda memory: memory.learn(stated, end_user=end_user, max_facts=3, now=at),
        request=Request.internal(),
    )


async def test_a_conversation_is_shown_with_its_turns_to_its_end_user_and_to_who_acts_for_users() -> None:
    harness = chatting()
    one = await ask(harness, "one")

    for caller in (U1, ADA):
        shown = await crud(harness).get(caller, "c1")
        assert list(shown.states) == [one.id]
        assert [each.id for each in (await crud(harness).list(caller, page=ALL)).items] == ["c1"]
    with pytest.raises(ConversationNotFound):
        await crud(harness).get(U2, "c1")
    assert (await crud(harness).list(U2, page=ALL)).items == []
    assert (await crud(harness).list(U2, page=PageRequest(where={"end_user": "u1"}))).items == ()


async def test_a_conversation_is_deleted_by_its_end_user_and_what_it_says_goes_with_it() -> None:
    harness = chatting()
    await ask(harness, "one")
    summary = Summary(text="They asked.", through=1, create_time=NOON)
    await harness.conversations.update(
        "acme", "c1", lambda stored: stored.summarize(summary, of=[], epoch=1), request=Request.internal()
    )

    with pytest.raises(ConversationNotFound):
        await crud(harness).delete(U2, "c1", writing("w0"))
    await crud(harness).delete(U1, "c1", writing("w1"))
    await crud(harness).delete(U1, "c1", writing("w1"))

    (tombstone,) = harness.conversations.all()
    assert (tombstone.deleted, tombstone.summaries, tombstone.turns, tombstone.end_user) == (True, (), (), "")
    again = await ask(harness, "two")
    shown = await crud(harness).get(U1, "c1")
    assert [turn.inference for turn in shown.conversation.turns] == [again.id]


async def test_memories_are_listed_corrected_and_erased_by_their_end_user_alone_or_by_who_acts_for_users() -> None:
    harness = chatting()
    await remember(harness, "Lives in Oslo.", "Likes tea.")
    await remember(harness, "Is tall.", end_user="u2")
    mine = (await facts(harness).list(U1, page=ALL)).items

    assert [each.fact.text for each in mine] == ["Lives in Oslo.", "Likes tea."]
    assert len((await facts(harness).list(ADA, page=ALL)).items) == 3
    assert (await facts(harness).list(U1, page=PageRequest(where={"end_user": "u2"}))).items == ()
    for change in (
        facts(harness).correct(U2, mine[0].fact.id, "x", writing("w1")),
        facts(harness).delete(U2, mine[0].fact.id, writing("w2")),
    ):
        with pytest.raises(MemoryNotFound, match=mine[0].fact.id):
            await change
    corrected = await facts(harness).correct(U1, mine[0].fact.id, " Lives in\nBergen. ", writing("w3"))
    assert (corrected.fact.text, corrected.fact.corrected) == ("Lives in Bergen.", True)
    with pytest.raises(Conflict):
        await facts(harness).delete(U1, mine[0].fact.id, writing("w4", etag="1"))
    await facts(harness).delete(U1, mine[0].fact.id, writing("w5", etag="2"))
    assert [each.fact.text for each in (await facts(harness).list(U1, page=ALL)).items] == ["Likes tea."]


@pytest.mark.parametrize("text", ["", " ", "x" * 41])
async def test_a_correction_is_one_line_of_limited_length(text: str) -> None:
    harness = chatting()
    memory = await remember(harness, "Lives in Oslo.")

    with pytest.raises(InvalidInput, match="use one line of 1 to 40"):
        await facts(harness).correct(U1, memory.facts[0].id, text, writing("w1"))


async def test_the_oldest_facts_go_that_were_not_corrected() -> None:
    harness = chatting()
    memory = await remember(harness, "one", "two", "three")
    await facts(harness).correct(U1, memory.facts[0].id, "One.", writing("w1"))

    memory = await remember(harness, "four", "Three")

    assert [fact.text for fact in memory.facts] == ["One.", "three", "four"]


async def test_erasing_an_end_user_erases_conversations_and_memories_and_what_was_asked_before_is_not_remembered() -> (
    None
):
    harness = chatting()
    await ask(harness, "one")
    await ask(harness, "other", in_="c2", end_user="u2")
    await remember(harness, "Lives in Oslo.")
    harness.clock.advance(timedelta(minutes=1))
    erase = EraseEndUser(inferences=harness.inferences, clock=harness.clock, others=[erasing(harness)])

    counted = await erase(ADA, "u1", validate_only=True)
    erased = await erase(ADA, "u1")
    again = await erase(ADA, "u1")

    assert (counted.records, erased.records, erased.more, again.records, again.more) == (3, 3, True, 0, False)
    assert [each.id for each in harness.conversations.all() if not each.deleted] == ["c2"]
    late = await remember(harness, "Lives in Oslo.")
    assert (late.facts, late.end_user, late.deleted) == ((), "", True)
    later = await remember(harness, "Lives in Rome.", at=NOON + timedelta(hours=1))
    assert [fact.text for fact in later.facts] == ["Lives in Rome."]


async def test_erasing_one_who_has_no_memory_yet_keeps_a_worker_from_making_one() -> None:
    harness = chatting()
    harness.clock.advance(timedelta(minutes=1))

    assert await erasing(harness).of_end_user("acme", "u1") == 0

    assert (await remember(harness, "Lives in Oslo.")).facts == ()


async def test_erasing_a_document_removes_the_summaries_and_memories_that_rest_on_it_and_no_others() -> None:
    harness = chatting()
    for text in ("one", "two"):
        await ask(harness, text)

    def summarized(stored: Conversation) -> None:
        for through, documents in ((1, ("d1",)), (2, ("d1", "d2"))):
            summary = Summary(text=f"s{through}", through=through, create_time=NOON, documents=documents)
            stored.summarize(summary, of=[], epoch=1)

    await harness.conversations.update("acme", "c1", summarized, request=Request.internal())
    await remember(harness, "on one", documents=("d1",))
    await remember(harness, "on two", documents=("d2",))

    assert await erasing(harness).of_document("acme", "d2") == 2
    assert await erasing(harness).of_document("acme", "d2") == 0

    conversation = await harness.conversations.get("acme", "c1")
    assert ([each.text for each in conversation.summaries], conversation.due) == (["s1"], True)
    assert [each.fact.text for each in (await facts(harness).list(U1, page=ALL)).items] == ["on one"]
