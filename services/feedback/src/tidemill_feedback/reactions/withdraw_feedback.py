"""Take one reaction back."""

from dataclasses import dataclass

from tidemill_core.application import Caller, Clock, Request
from tidemill_feedback.errors import FeedbackNotFound
from tidemill_feedback.reactions.domain.feedback import Feedback
from tidemill_feedback.reactions.ports import FeedbackStore


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawFeedback:
    """Emits FeedbackWasWithdrawn, by which a correction leaves the curations and a rating its rollout."""

    feedback: FeedbackStore
    clock: Clock
    keep: int
    """How many earlier reactions are kept."""

    async def __call__(
        self, caller: Caller, feedback_id: str, *, request: Request, validate_only: bool = False
    ) -> Feedback:
        """Return the feedback as it is afterwards; taken back already, nothing changes.

        Raises:
            FeedbackNotFound: the project has none with this id.

        """
        found = (await self.feedback.get_many(caller.project, [feedback_id])).get(feedback_id)
        if found is None:
            raise FeedbackNotFound(feedback_id)
        now = self.clock.now()
        if validate_only:
            found.withdraw(keep=self.keep, now=now)
            return found
        return await self.feedback.upsert(
            found, lambda feedback: feedback.withdraw(keep=self.keep, now=now), request=request
        )
