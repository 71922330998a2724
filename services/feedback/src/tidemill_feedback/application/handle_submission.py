"""Take a reaction that came as an event: it may be ahead of the inference that it is about."""

from dataclasses import dataclass

from tidemill_feedback.application.match_pending import MatchPending
from tidemill_feedback.application.ports import Pending, SubmittedEvent, Waiting
from tidemill_feedback.application.submit_feedback import Submission, SubmitFeedback, inference_of
from tidemill_feedback.domain.errors import InferenceUnanswered, InferenceUnknown
from tidemill_feedback.domain.reaction import Reaction
from tidemill_kit.core.application import Caller, Clock, Request


@dataclass(frozen=True, slots=True, kw_only=True)
class HandleSubmission:
    """Records the reaction, or lets it wait for its inference. The same event again has one effect."""

    submit: SubmitFeedback
    match: MatchPending
    pending: Pending
    clock: Clock

    async def __call__(self, caller: Caller, reaction: Reaction, *, request: Request, event: SubmittedEvent) -> None:
        """Return when the reaction is saved, one way or the other.

        Raises:
            InvalidInput: it can never count.
            TooManyWait: its inference is unknown, and enough wait for it.

        """
        submission = Submission(reaction=reaction, request=request, observed_at=event.time, keep_ignored=True)
        try:
            await self.submit(caller, submission)
        except (InferenceUnknown, InferenceUnanswered):
            waiting = Waiting(
                project=caller.project,
                inference=inference_of(caller.project, reaction),
                reaction=reaction,
                request=request,
                event=event,
                since=self.clock.now(),
            )
            await self.pending.add(waiting)
            # It may have been completed between the question and the note: then nobody else would look.
            await self.match(caller.project, waiting.inference)
