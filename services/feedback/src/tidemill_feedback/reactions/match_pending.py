"""Bring reactions and the inference that they waited for together."""

from dataclasses import dataclass, replace
from datetime import datetime

from tidemill_core.application import Caller
from tidemill_core.errors import AlreadyExists, InvalidInput, NotFound, PreconditionFailed, TidemillError
from tidemill_feedback.errors import InferenceUnanswered, InferenceUnknown
from tidemill_feedback.reactions.domain.feedback import Answer
from tidemill_feedback.reactions.erase_late import EraseLate
from tidemill_feedback.reactions.ports import DeadLetters, ErasedUsers, Inferences, Pending, Waiting
from tidemill_feedback.reactions.submit_feedback import Submission, SubmitFeedback

PERMANENT = (InvalidInput, NotFound, AlreadyExists, PreconditionFailed)


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchPending:
    """Records every reaction that waits for an inference, once it is completed; what can never count is dead-lettered.

    A reaction waits no longer only after it was saved or dead-lettered, so a crash in between repeats it: saved once
    by its request, and a dead letter at least once. One that is older than the erasure of its user is dropped. A choice
    waits for one of its two inferences at a time, and as long as one is unknown.
    """

    pending: Pending
    inferences: Inferences
    submit: SubmitFeedback
    dead_letters: DeadLetters
    erased: ErasedUsers
    late: EraseLate

    async def __call__(self, caller: Caller, inference: str) -> TidemillError | None:
        """Return None when nothing waits for the inference any more, else why it still does."""
        waiting = await self.pending.of(caller.project, inference)
        if not waiting:
            return None
        try:
            answer = await self.inferences.answer(caller, inference)
        except InferenceUnknown as error:
            return error
        if not answer.completed:
            return InferenceUnanswered(inference)
        for each in waiting:
            await self._record(caller, each, answer)
        return None

    async def _record(self, caller: Caller, waiting: Waiting, answer: Answer) -> None:
        rejected = None
        if choice := waiting.reaction.preference:
            is_chosen = answer.inference == choice.chosen
            other = await self._other(caller, waiting, choice.rejected if is_chosen else choice.chosen)
            if other is None:
                return
            answer, rejected = (answer, other) if is_chosen else (other, answer)
        if await is_erased(self.erased, caller, waiting.reaction.end_user, answer.end_user, sent_at=waiting.event.time):
            await self.pending.remove(waiting)
            return
        submission = Submission(
            reaction=waiting.reaction,
            request=waiting.request,
            observed_at=waiting.event.time,
            arrive_time=waiting.since,
            keep_ignored=True,
        )
        publisher = Caller.of_publisher(caller.project, waiting.event.source)  # as if it had not waited
        try:
            saved = await self.submit.record(publisher, submission, answer, rejected=rejected)
            await self.late(caller, saved, sent_at=waiting.event.time)
        except PERMANENT as error:
            await self.dead_letters.put(waiting, error)
        await self.pending.remove(waiting)

    async def _other(self, caller: Caller, waiting: Waiting, inference: str) -> Answer | None:
        """Return the other answer of a choice; None where the choice waits for that one from now on."""
        try:
            other = await self.inferences.answer(caller, inference)
        except InferenceUnknown:
            other = None
        if other is not None and other.completed:
            return other
        try:
            await self.pending.add(replace(waiting, inference=inference))
        except PERMANENT as error:
            await self.dead_letters.put(waiting, error)
            await self.pending.remove(waiting)
            return None
        await self.pending.remove(waiting)
        await self(caller, inference)  # it may have been completed before the choice waited for it
        return None


async def is_erased(erased: ErasedUsers, caller: Caller, *users: str, sent_at: datetime) -> bool:
    """Return whether a reaction was sent before one of these users was erased: it came late, or waited."""
    named = {user for user in users if user}
    until = await erased(caller.project, named) if named else {}
    return any(sent_at <= moment for moment in until.values())
