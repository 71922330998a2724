"""Remove the reactions that their project keeps no longer, with what was made of them."""

from dataclasses import dataclass
from datetime import datetime

from tidemill_core.application import Caller, Clock, Request
from tidemill_feedback.reactions.domain.feedback import Feedback
from tidemill_feedback.reactions.ports import FeedbackStore, ForgetExamples, OldFeedback, RemoveOldBatches, Retained

_BATCH_SIZE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetOldFeedback:
    """Goes by what projects say; without that, feedback stays. A tombstone keeps counting, and names no one.

    Nothing is removed of a project in which a legal hold covers something.
    """

    feedback: FeedbackStore
    old: OldFeedback
    forget_examples: ForgetExamples
    remove_batches: RemoveOldBatches
    retained: Retained
    clock: Clock

    async def __call__(self) -> int:
        """Return how many reactions and batches were removed."""
        removed = 0
        for project, keep in self.retained.projects().items():
            before, caller = self.clock.now() - keep, Caller.of_service(project, "feedback")
            while not self.retained.spares(project):
                ids = await self.old.ids(project, before=before, limit=_BATCH_SIZE)
                if not ids:
                    removed += await self.remove_batches(project, before)
                    break
                await self._forget(caller, ids, before)
                removed += len(ids)
        return removed

    async def _forget(self, caller: Caller, ids: list[str], before: datetime) -> None:
        """Erase what is still old: the same person may react anew at any moment."""

        def erase(feedback: Feedback) -> None:
            if feedback.update_time and feedback.update_time < before:
                feedback.erase()

        for each in (await self.feedback.get_many(caller.project, ids)).values():
            erased = await self.feedback.upsert(each, erase, request=Request.internal())
            if erased.deleted:
                await self.forget_examples(caller, [erased], erased.asked_by)
                await self.feedback.upsert(each, lambda feedback: feedback.forget(), request=Request.internal())
