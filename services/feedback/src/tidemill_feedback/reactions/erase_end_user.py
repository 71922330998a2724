"""Erase an end user: their feedback, and all feedback on their questions."""

from collections.abc import Sequence
from dataclasses import dataclass

from tidemill_core.application import Caller, PageRequest
from tidemill_core.errors import InvalidInput
from tidemill_core.resources import Write
from tidemill_feedback.reactions.domain.feedback import Feedback
from tidemill_feedback.reactions.ports import FeedbackStore, ForgetExamples, Inferences, Pending

_BATCH_SIZE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """Reactions that were erased, and records of questions and answers."""

    reactions: int
    inferences: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EraseEndUser:
    """Emits nothing: no event carries user text, and the next batch has what counts by then.

    inference's records are erased last, because they attribute reactions to the user's questions. Feedback that is
    already erased is visited again, so that a repeated call completes an interrupted one.
    """

    feedback: FeedbackStore
    pending: Pending
    forget_examples: ForgetExamples
    inferences: Inferences

    async def __call__(self, caller: Caller, end_user: str, write: Write) -> Erased:
        """Return how much was erased, or would be.

        Raises:
            InvalidInput: end_user is empty.
            DependencyUnavailable: inference does not answer; progress is kept.

        """
        if not end_user:
            raise InvalidInput.at(field="end_user", text="is empty; set the end user to erase")
        if not write.validate_only:
            await self.pending.forget(caller.project, end_user)
        erased = set[str]()
        for role in ("end_user", "asked_by"):
            token = ""
            while True:
                page = await self.feedback.list(
                    caller.project,
                    page=PageRequest(size=_BATCH_SIZE, token=token),
                    where={role: end_user},
                    show_deleted=True,
                )
                erased |= {each.id for each in page.items if not each.deleted}
                if not write.validate_only:
                    await self._erase(caller, page.items, end_user, write)
                token = page.next_token
                if not token:
                    break
        records = await self.inferences.erase(caller, end_user, validate_only=write.validate_only)
        return Erased(reactions=len(erased), inferences=records)

    async def _erase(self, caller: Caller, found: Sequence[Feedback], end_user: str, write: Write) -> None:
        """Leave tombstones, by which a repeated call finds rows and prompts to delete."""
        tombstones = list[Feedback]()
        for each in found:
            erased = await self.feedback.upsert(each, lambda feedback: feedback.erase(), request=write.request)
            if erased.deleted:  # else it was submitted after this request was completed
                tombstones.append(erased)
        await self.forget_examples(caller, tombstones, end_user)
