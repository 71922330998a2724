"""Accept a reaction submitted as an event, which may arrive before its inference is completed."""

from dataclasses import dataclass

from tidemill_core.application import Caller, Clock, Request
from tidemill_feedback.errors import InferenceUnanswered, InferenceUnknown
from tidemill_feedback.reactions.domain.reaction import Reaction
from tidemill_feedback.reactions.match_pending import MatchPending, is_erased
from tidemill_feedback.reactions.ports import Pending, SubmittedEvent, Waiting
from tidemill_feedback.reactions.submit_feedback import Submission, SubmitFeedback


@dataclass(frozen=True, slots=True, kw_only=True)
class HandleSubmission:
    """Records the reaction, or keeps it pending on its inference. Idempotent by event.

    One that is older than the erasure of its user is dropped: the consumer can be behind it.
    """

    submit: SubmitFeedback
    match: MatchPending
    pending: Pending
    clock: Clock

    async def __call__(self, caller: Caller, reaction: Reaction, *, request: Request, event: SubmittedEvent) -> None:
        """Return when the reaction is recorded or pending.

        Raises:
            InvalidInput: it is invalid.
            TooManyWait: the limit of pending reactions for its inference is reached.

        """
        if await is_erased(self.match.erased, caller, reaction.end_user, sent_at=event.time):
            return
        submission = Submission(reaction=reaction, request=request, observed_at=event.time, keep_ignored=True)
        try:
            saved = await self.submit(caller, submission)
            await self.match.late(caller, saved, sent_at=event.time)
        except (InferenceUnknown, InferenceUnanswered) as error:
            waiting = Waiting(
                project=caller.project,
                inference=str(error.metadata["inference"])
                if reaction.preference
                else reaction.target_in(caller.project),
                reaction=reaction,
                request=request,
                event=event,
                since=self.clock.now(),
            )
            await self.pending.add(waiting)
            # The inference may have been completed before the reaction became pending: then no event matches it.
            await self.match(caller, waiting.inference)
