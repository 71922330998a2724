"""Take a reaction to an answer that is there."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime

from tidemill_core.application import Caller, Clock, Request
from tidemill_core.characters import same_words
from tidemill_core.errors import InvalidInput, NotFound, PermissionDenied, PreconditionFailed
from tidemill_core.resources import refuse
from tidemill_feedback.errors import InferenceUnanswered, NothingCorrected, NotLive, ProjectDeleted
from tidemill_feedback.metrics.domain.metric import BUILT_IN, FeedbackMetric
from tidemill_feedback.metrics.find_metric import FindMetric
from tidemill_feedback.reactions.domain.feedback import Answer, Feedback, Given
from tidemill_feedback.reactions.domain.reaction import Reaction, ReactionLimits, violations
from tidemill_feedback.reactions.domain.speaker import said_by, trusted_raters
from tidemill_feedback.reactions.ports import FeedbackStore, Inferences


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One intent. `observed_at` counts where the reaction itself says no time."""

    reaction: Reaction
    request: Request
    observed_at: datetime
    validate_only: bool = False
    arrive_time: datetime | None = None
    """When it came, where that is before now: it was not observed later."""
    keep_ignored: bool = False
    """True keeps a reaction to an answer that was not a live one, as IGNORED; False refuses it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitFeedback:
    """Emits FeedbackWasRecorded where the reaction is the latest of its person about the inference and metric.

    The same request again has no second effect. The consumer of that event adds a correction to the curations.
    """

    feedback: FeedbackStore
    inferences: Inferences
    metric: FindMetric
    clock: Clock
    limits: ReactionLimits
    keep: int
    """How many earlier reactions are kept."""
    trusted: Collection[str] = ()
    """The raters that count though they did not ask, in submitted records."""
    deleted: Callable[[str], bool] = lambda _: False
    """Whether a project was deleted: what its users send is erased, and must not be stored behind that."""

    async def __call__(self, caller: Caller, submission: Submission) -> Feedback:
        """Return the feedback as recorded, or as it would be.

        Raises:
            InvalidInput: something in the reaction is wrong.
            SpeaksForAnother: it names a user or a rater that the credential does not.
            NotLive: the answer was not for a user.
            NothingCorrected: the correction is what was answered.
            NotComparable: the choice is between answers that cannot be compared.
            InferenceUnknown: there is no such inference.
            InferenceUnanswered: it has no answer yet.
            ProjectDeleted: the project was deleted.

        """
        if self.deleted(caller.project):
            raise ProjectDeleted(caller.project)
        try:
            metric = await self._checked(caller, submission)
        except InvalidInput as refused:
            return await self._repeated(caller, submission, refused)
        reaction = said_by(caller, submission.reaction)
        submission = replace(submission, reaction=reaction)
        answer = await self._answer(caller, reaction.target_in(caller.project))
        choice = reaction.preference
        rejected = await self._answer(caller, choice.rejected) if choice else None
        return await self._record(caller, submission, answer, metric=metric, rejected=rejected)

    async def _answer(self, caller: Caller, inference: str) -> Answer:
        answer = await self.inferences.answer(caller, inference)
        if not answer.completed:
            raise InferenceUnanswered(answer.inference)
        return answer

    async def record(
        self, caller: Caller, submission: Submission, answer: Answer, *, rejected: Answer | None = None
    ) -> Feedback:
        """Save a reaction to a completed answer, which it may have waited for: its metric may be another one by now.

        Of a choice, `answer` is the chosen one.

        Raises:
            InvalidInput: its metric is not declared any more, or takes other values.
            NotLive: the answer was not for a user.
            NothingCorrected: the correction is what was answered.
            NotComparable: the choice is between answers that cannot be compared.

        """
        try:
            metric = await self._checked(caller, submission)
        except InvalidInput as refused:
            return await self._repeated(caller, submission, refused, answer)
        return await self._record(caller, submission, answer, metric=metric, rejected=rejected)

    async def _repeated(
        self, caller: Caller, submission: Submission, refused: InvalidInput, answer: Answer | None = None
    ) -> Feedback:
        """Return what the same request recorded while its metric, which was changed or deleted since, still took it.

        Raises:
            InvalidInput: it recorded nothing.

        """
        reaction = submission.reaction
        if reaction.metric in BUILT_IN or not reaction.metric or submission.validate_only:
            raise refused
        try:
            if answer is None:
                reaction = said_by(caller, reaction)
                answer = await self._answer(caller, reaction.target_in(caller.project))
        except (InvalidInput, NotFound, PermissionDenied, PreconditionFailed):
            raise refused from None
        fresh = Feedback.fresh(caller.project, reaction, inference=answer.inference, end_user=answer.end_user)

        def change(_: Feedback) -> None:
            raise refused

        return await self.feedback.upsert(fresh, change, request=submission.request)

    async def _checked(self, caller: Caller, submission: Submission) -> FeedbackMetric | None:
        """Return the declared metric of what can be taken, whatever the inference is.

        Raises:
            InvalidInput: all violations at once.

        """
        reaction, now = submission.reaction, self.clock.now()
        metric = await self.metric(caller, reaction.metric)
        known = BUILT_IN if metric or reaction.metric in BUILT_IN else await self.metric.names(caller)
        observed_at = submission.observed_at
        refuse(violations(reaction, self.limits, observed_at=observed_at, now=now, declared=metric, known=known))
        return metric

    async def _record(
        self,
        caller: Caller,
        submission: Submission,
        answer: Answer,
        *,
        metric: FeedbackMetric | None,
        rejected: Answer | None,
    ) -> Feedback:
        reaction = submission.reaction
        if rejected is not None:
            answer.check_compares(rejected)
            answer = answer if rejected.live else replace(answer, live=False)
        if not answer.live and not submission.keep_ignored:
            raise NotLive(answer.inference)
        fresh = Feedback.fresh(caller.project, reaction, inference=answer.inference, end_user=answer.end_user)
        labels, now = dict(reaction.labels), self.clock.now()
        measure = None
        if metric is not None:
            measure = metric.measure(reaction.value, rater=fresh.rater, asked_at=answer.create_time)
        arrived = min(submission.arrive_time or now, now)
        given = Given.of(reaction, submission.observed_at, now=arrived, measure=measure)
        trusted = trusted_raters(caller, self.trusted)
        repeats = reaction.correction is not None and same_words(reaction.correction, answer.output)

        def change(feedback: Feedback) -> None:
            feedback.end_user = fresh.end_user  # a tombstone of an erased user names none
            if answer.live and repeats:  # the answer was right after all
                if feedback.current is None:
                    raise NothingCorrected(answer.inference)
                feedback.withdraw(keep=self.keep, now=now, observed_at=given.observe_time)
            elif answer.live:
                feedback.give(given, answer, labels=labels, keep=self.keep, now=now, trusted=trusted)
            else:
                message = NotLive(answer.inference).message
                feedback.ignore(given, answer, labels=labels, keep=self.keep, message=message)

        if submission.validate_only:
            would_be = (await self.feedback.get_many(fresh.project, [fresh.id])).get(fresh.id, fresh)
            change(would_be)
            return would_be
        return await self.feedback.upsert(fresh, change, request=submission.request)
