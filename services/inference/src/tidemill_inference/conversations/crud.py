"""Conversations and memories: shown to whom they are of, corrected, deleted, and erased with their end user."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from tidemill_core.application import Caller, Clock, Page, PageRequest, Request
from tidemill_core.characters import clean_line
from tidemill_core.resources import Write, check_etag, delete, update
from tidemill_core.rights import ACT_FOR_USERS, has_right
from tidemill_inference.conversations.domain.conversation import Conversation
from tidemill_inference.conversations.domain.errors import ConversationNotFound, MemoryNotFound
from tidemill_inference.conversations.domain.memory import EndUserMemory, Fact, memory_id, memory_of_fact
from tidemill_inference.conversations.ports import Conversations, Ended, Memories, TurnStates
from tidemill_inference.generation.domain.inference import State
from tidemill_inference.generation.domain.speaker import owned

_BATCH = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownConversation:
    """A conversation, and the states of those of its turns that have an answer or will have one."""

    conversation: Conversation
    states: Mapping[str, State]


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnedFact:
    """A fact, and the memory that it is of."""

    fact: Fact
    memory: EndUserMemory


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationCrud:
    """What is not the caller's is answered as what is not there."""

    conversations: Conversations
    states: TurnStates

    async def get(self, caller: Caller, conversation_id: str) -> ShownConversation:
        """Return a conversation.

        Raises:
            ConversationNotFound: the caller has none with this id.

        """
        conversation = await self.conversations.get(caller.project, conversation_id)
        if not owned(caller, conversation.end_user):
            raise ConversationNotFound(conversation_id)
        states = await self.states(caller.project, [turn.inference for turn in conversation.turns])
        return ShownConversation(conversation=conversation, states=states)

    async def list(self, caller: Caller, *, page: PageRequest) -> Page[Conversation]:
        """Return a page of the caller's conversations, of all where the caller acts for users."""
        if has_right(caller, ACT_FOR_USERS):
            return await self.conversations.list(caller.project, page=page)
        if page.where.get("end_user", caller.subject) != caller.subject:
            return Page(items=())
        return await self.conversations.list(caller.project, page=page, where={"end_user": caller.subject})

    async def delete(self, caller: Caller, conversation_id: str, write: Write) -> None:
        """Delete a conversation with its summaries; the same request again has no second effect.

        Raises:
            ConversationNotFound: the caller has none with this id.
            Conflict: it has changed since the etag.

        """

        def forget(conversation: Conversation) -> None:
            if not owned(caller, conversation.end_user):
                raise ConversationNotFound(conversation_id)
            conversation.forget()

        await delete(self.conversations, caller.project, conversation_id, write, change=forget)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryCrud:
    """Facts of end users; what is not the caller's is answered as what is not there."""

    memories: Memories
    clock: Clock
    max_characters: int

    async def list(self, caller: Caller, *, page: PageRequest) -> Page[OwnedFact]:
        """Return the facts of a page of end users, of the caller's own where the caller does not act for users."""
        end_user = page.where.get("end_user", "")
        if not has_right(caller, ACT_FOR_USERS):
            if end_user not in ("", caller.subject):
                return Page(items=())
            end_user = caller.subject
        if end_user:
            key = memory_id(caller.project, end_user)
            found = list((await self.memories.get_many(caller.project, [key])).values())
            return Page(items=[OwnedFact(fact=fact, memory=each) for each in found for fact in each.facts])
        users = await self.memories.list(caller.project, page=page)
        items = [OwnedFact(fact=fact, memory=each) for each in users.items for fact in each.facts]
        return Page(items=items, next_token=users.next_token)

    async def correct(self, caller: Caller, fact_id: str, text: str, write: Write) -> OwnedFact:
        """Return a fact with another text.

        Raises:
            MemoryNotFound: the caller has none with this id.
            InvalidInput: the text is empty, or too long.
            Conflict: it has changed since the etag.

        """
        now = self.clock.now()

        def change(memory: EndUserMemory) -> None:
            memory.correct(fact_id, text, max_characters=self.max_characters, now=now)

        memory = await self._change(caller, fact_id, change, write)
        return OwnedFact(fact=memory.fact(fact_id), memory=memory)

    async def delete(self, caller: Caller, fact_id: str, write: Write) -> None:
        """Erase a fact.

        Raises:
            MemoryNotFound: the caller has none with this id.
            Conflict: it has changed since the etag.

        """
        await self._change(caller, fact_id, lambda memory: memory.remove(fact_id), write)

    async def _change(
        self, caller: Caller, fact_id: str, change: Callable[[EndUserMemory], None], write: Write
    ) -> EndUserMemory:
        def checked(memory: EndUserMemory) -> None:
            if not owned(caller, memory.end_user):
                raise MemoryNotFound(fact_id)
            check_etag(write.etag, memory.fact(fact_id).revision + 1)
            change(memory)

        of_all = replace(write, etag="")  # the etag is the fact's
        try:
            return await update(self.memories, caller.project, memory_of_fact(fact_id), checked, of_all)
        except MemoryNotFound as error:
            raise MemoryNotFound(fact_id) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class EraseConversations:
    """Erases what is kept of an end user beside the records of answers, and what rests on an erased document."""

    conversations: Conversations
    memories: Memories
    ended: Ended
    clock: Clock

    async def of_end_user(self, project: str, end_user: str, *, validate_only: bool = False) -> int:
        """Erase a batch, and return how much that was: 0 when nothing is left; or count."""
        count = 0
        for name in dict.fromkeys([end_user, clean_line(end_user)]):
            if validate_only:
                page = PageRequest(size=_BATCH)
                found = await self.conversations.list(project, page=page, where={"end_user": name})
                count += len(found.items) + await self._facts(project, name)
                continue
            count += await self.ended.of_end_user(project, name, limit=_BATCH)
            count += await self._forget(project, name)
        return count

    async def of_document(self, project: str, document: str) -> int:
        """Remove a batch of summaries and memories that rest on a document; return of how many that was."""
        conversations, memories = await self.ended.resting_on(project, document, limit=_BATCH)
        internal = Request.internal
        for each in conversations:
            await self.conversations.update(
                project, each, lambda stored: stored.forget_document(document), request=internal()
            )
        for each in memories:
            await self.memories.update(
                project, each, lambda stored: stored.forget_document(document), request=internal()
            )
        return len(conversations) + len(memories)

    async def _facts(self, project: str, end_user: str) -> int:
        key = memory_id(project, end_user)
        memory = (await self.memories.get_many(project, [key])).get(key)
        return len(memory.facts) if memory else 0

    async def _forget(self, project: str, end_user: str) -> int:
        """Leave a tombstone, also where nothing was remembered: a worker may be about to."""
        key, now = memory_id(project, end_user), self.clock.now()
        count = await self._facts(project, end_user)
        fresh = EndUserMemory(id=key, project=project, end_user="")
        await self.memories.upsert(fresh, lambda memory: memory.forget(now=now), request=Request.internal())
        return count
