"""Remove conversations and memories that are older than the answers that they came of may be."""

from dataclasses import dataclass

from tidemill_core.application import Request
from tidemill_inference.conversations.domain.memory import EndUserMemory
from tidemill_inference.conversations.ports import Ended, Memories
from tidemill_inference.generation.ports import OldRecords


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveOldConversations:
    """Implements `generation.ports.Aging`.

    What was asked last in a conversation counts for all of it, and the last correction of a memory.
    """

    memories: Memories
    ended: Ended

    async def remove(self, old: OldRecords, *, limit: int) -> int:
        """See `Aging.remove`."""

        def forget(memory: EndUserMemory) -> None:
            memory.forget_before(old.before, deployment=old.deployment)

        removed = await self.ended.remove_old(old.project, old.before, deployment=old.deployment, limit=limit)
        older = await self.ended.older(old.project, old.before, deployment=old.deployment, limit=limit)
        for each in older:
            await self.memories.update(old.project, each, forget, request=Request.internal())
        return removed + len(older)
