"""Erase what was saved behind the erasure of its user."""

from dataclasses import dataclass
from datetime import datetime

from tidemill_core.application import Caller
from tidemill_feedback.reactions.domain.feedback import Feedback
from tidemill_feedback.reactions.erase_end_user import EraseReactions
from tidemill_feedback.reactions.ports import ErasedUsers


@dataclass(frozen=True, slots=True, kw_only=True)
class EraseLate:
    """Asks for erasures after a reaction is saved, too: one that began meanwhile may not have seen it."""

    reactions: EraseReactions
    erased: ErasedUsers

    async def __call__(self, caller: Caller, saved: Feedback, *, sent_at: datetime) -> None:
        """Erase a reaction that was sent before who gave it, or who asked, was erased."""
        users = {user for user in (saved.end_user, saved.asked_by) if user}
        if not users:
            return
        for user, until in (await self.erased(caller.project, users)).items():
            if sent_at <= until:
                await self.reactions.late(caller, saved, user, until=until)
