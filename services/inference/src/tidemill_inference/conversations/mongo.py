"""Conversations and memories as documents, how their turns stand, and what erases them."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from tidemill_core.application import Clock, Page, ResourceKey
from tidemill_inference.conversations.domain.conversation import Conversation
from tidemill_inference.conversations.domain.memory import EndUserMemory
from tidemill_inference.generation.domain.inference import State
from tidemill_kit.erasure.documents import erase_documents
from tidemill_kit.mapping import DocumentCodec
from tidemill_kit.store.mongo import Collection, Document, document_id, translated
from tidemill_kit.workers.pending import PendingDocuments

CONVERSATIONS = DocumentCodec(Conversation)
MEMORIES = DocumentCodec(EndUserMemory)


_DUE: Document = {"state.due": True}
_WAITS: Document = {"state.wait_until": {"$gt": datetime(2000, 1, 1, tzinfo=UTC)}}
"""Whatever the time is, so that an index can have it."""
_WAITED = "waited "
"""Begins the tokens of pages of those that have waited."""


class ConversationsWithWork:
    """Implements `controller.Pending`: what has turns to summarise, or to search for facts, and need not wait."""

    def __init__(self, conversations: Collection, clock: Clock) -> None:
        def waited() -> Document:
            return {"state.wait_until": {**_WAITS["state.wait_until"], "$lte": clock.now()}, "deleted": False}

        self._due = PendingDocuments(
            conversations, {**_DUE, "deleted": False}, index="state.due", partialFilterExpression=_DUE
        )
        self._waited = PendingDocuments(conversations, waited, index="state.wait_until", partialFilterExpression=_WAITS)

    async def ensure_indexes(self) -> None:
        """Create what finds them; repeating it changes nothing."""
        await self._due.ensure_indexes()
        await self._waited.ensure_indexes()

    async def __call__(self, token: str, /, *, without: frozenset[str]) -> Page[ResourceKey]:
        """See `controller.Pending`. Those that have waited come in pages of their own, behind the others."""
        if not token.startswith(_WAITED):
            page = await self._due(token, without=without)
            return page if page.next_token else Page(items=page.items, next_token=_WAITED)
        page = await self._waited(token.removeprefix(_WAITED), without=without)
        return Page(items=page.items, next_token=f"{_WAITED}{page.next_token}" if page.next_token else "")


class MongoTurnStates:
    """Implements `ports.TurnStates`: a conversation may have thousands of turns, whose texts stay where they are."""

    def __init__(self, inferences: Collection) -> None:
        self._inferences = inferences

    async def __call__(self, project: str, inferences: Iterable[str]) -> Mapping[str, State]:
        """See `TurnStates`."""
        where: Document = {
            "_id": {"$in": [document_id(project, each) for each in inferences]},
            "deleted": False,
            "state.state": {"$in": [State.RESERVED.name, State.COMPLETED.name]},
        }
        with translated():
            found = await self._inferences.find(where, {"id": True, "state.state": True}).to_list(None)
        return {each["id"]: State[each["state"]["state"]] for each in found}


class MongoEnded:
    """Implements `ports.Ended`."""

    def __init__(self, conversations: Collection, memories: Collection) -> None:
        self._conversations = conversations
        self._memories = memories

    async def ensure_indexes(self) -> None:
        """Create what finds what is old, and what rests on a document; repeating it changes nothing."""
        with translated():
            await self._conversations.create_index([("project", 1), ("update_time", 1)])
            await self._conversations.create_index([("project", 1), ("state.deployment", 1), ("update_time", 1)])
            await self._conversations.create_index([("project", 1), ("state.summaries.documents", 1)])
            await self._memories.create_index([("project", 1), ("state.facts.update_time", 1)])
            await self._memories.create_index([("project", 1), ("state.facts.documents", 1)])

    async def of_end_user(self, project: str, end_user: str, *, limit: int) -> int:
        """See `Ended.of_end_user`."""
        deleted: Document = {"$in": [False, True]}
        where: Document = {"project": project, "deleted": deleted, "state.end_user": end_user}
        return await erase_documents(self._conversations, where, limit=limit)

    async def resting_on(self, project: str, document: str, *, limit: int) -> tuple[list[str], list[str]]:
        """See `Ended.resting_on`."""
        return (
            await _ids(self._conversations, {"project": project, "state.summaries.documents": document}, limit),
            await _ids(self._memories, {"project": project, "state.facts.documents": document}, limit),
        )

    async def older(self, project: str, before: datetime, *, deployment: str = "", limit: int) -> list[str]:
        """See `Ended.older`."""
        fact: Document = {"update_time": {"$lt": before}} | ({"deployment": deployment} if deployment else {})
        return await _ids(self._memories, {"project": project, "state.facts": {"$elemMatch": fact}}, limit)

    async def remove_old(self, project: str, before: datetime, *, deployment: str = "", limit: int) -> int:
        """See `Ended.remove_old`."""
        where: Document = {"project": project, "update_time": {"$lt": before}}
        return await erase_documents(
            self._conversations, where | ({"state.deployment": deployment} if deployment else {}), limit=limit
        )


async def _ids(collection: Collection, where: Document, limit: int) -> list[str]:
    with translated():
        found = collection.find(where, {"id": True}).limit(limit)  # what is deleted has neither summaries nor facts
        return [each["id"] for each in await found.to_list(limit)]
