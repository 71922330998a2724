"""Record what the absence of a value means, once its time is over."""

from contextlib import suppress
from dataclasses import dataclass

from tidemill_core.application import Caller, Clock, Page, PageRequest, Request, ResourceKey, derived_id
from tidemill_core.resources import list_all
from tidemill_feedback.errors import InferenceUnknown
from tidemill_feedback.maturity.domain import ExpectedValue
from tidemill_feedback.maturity.ports import ExpectedValues
from tidemill_feedback.metrics.domain.metric import Value
from tidemill_feedback.metrics.find_metric import FindMetric
from tidemill_feedback.reactions.domain.reaction import Reaction
from tidemill_feedback.reactions.erase_late import EraseLate
from tidemill_feedback.reactions.match_pending import PERMANENT, is_erased
from tidemill_feedback.reactions.ports import ErasedUsers, FeedbackStore, Inferences
from tidemill_feedback.reactions.submit_feedback import Submission, SubmitFeedback

_PAGE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class MatureValue:
    """Gives the declared default in the name of who asked, as observed when they asked: any other value replaces it.

    A value is expected no more only after it was recorded, and is recorded once by its request. Nothing is recorded of
    an answer that is gone, of a user who was erased since, where anything that counts was given or withdrawn, or once
    the metric does not mature any more. Where it matures later than it did, the value waits until then.
    """

    expected: ExpectedValues
    feedback: FeedbackStore
    inferences: Inferences
    metric: FindMetric
    submit: SubmitFeedback
    erased: ErasedUsers
    late: EraseLate
    clock: Clock

    async def __call__(self, caller: Caller, key: ResourceKey) -> None:
        """Record the default of a value that is due, or find that there is nothing to record.

        Raises:
            DependencyUnavailable: inference does not answer; the value stays due.

        """
        value = await self.expected.get(key)
        if value is None or value.due > self.clock.now():
            return
        metric = await self.metric(caller, value.metric)
        if metric is not None and metric.matures_after is not None:
            if (due := value.since + metric.matures_after) > self.clock.now():
                await self.expected.put_off(key, until=due)  # it takes longer since the answer was given
                return
            with suppress(*PERMANENT):  # it is not live, or its metric takes other values by now
                await self._record(caller, value, metric.absent_value)
        await self.expected.remove(key)

    async def due(self, token: str = "", /, *, without: frozenset[str] = frozenset()) -> Page[ResourceKey]:
        """Return the values that are due. Implements `controller.Pending`."""
        page = PageRequest(size=_PAGE, token=token)
        return await self.expected.due(self.clock.now(), page=page, without=without)

    async def _record(self, caller: Caller, value: ExpectedValue, absent: Value) -> None:
        if await self._is_given(caller, value):
            return
        try:
            answer = await self.inferences.answer(caller, value.inference)
        except InferenceUnknown:
            return
        if await is_erased(self.erased, caller, answer.end_user, sent_at=value.since) or not answer.completed:
            return
        default = Reaction(
            metric=value.metric,
            inference=value.inference,
            flag=absent.flag,
            number=absent.number,
            absent=True,
            observe_time=value.since,
        )
        request = Request(id=derived_id(value.project, "matured", value.inference, value.metric), digest="")
        submission = Submission(reaction=default, request=request, observed_at=value.since)
        saved = await self.submit.record(caller, submission, answer)
        await self.late(caller, saved, sent_at=value.since)

    async def _is_given(self, caller: Caller, value: ExpectedValue) -> bool:
        async for each in list_all(self.feedback, caller.project, where={"inference": value.inference}):
            if each.metric == value.metric and each.counts:  # what does not count says nothing, nor that it is absent
                return True
        return False
