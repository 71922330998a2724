"""Make items of live answers, when they are completed or rated low."""

from dataclasses import dataclass

from tidemill_core.application import Caller, Request
from tidemill_feedback.errors import InferenceUnanswered, InferenceUnknown
from tidemill_feedback.reviews.domain.item import Subject, SubjectKind
from tidemill_feedback.reviews.domain.queue import ReviewQueue, SamplingStrategy
from tidemill_feedback.reviews.domain.sampling import RecordedAnswer, selects, selects_rated
from tidemill_feedback.reviews.ports import Answers, OpenItems, SampledQueues
from tidemill_feedback.reviews.store_item import StoreItem, item_of


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleAnswers:
    """Idempotent: an answer is one item of a queue, and one that was removed stays so. A full queue takes none.

    The limits are those of a moment: answers that are completed at the same time may exceed them by a few.
    """

    queues: SampledQueues
    find: OpenItems
    store: StoreItem
    answers: Answers

    async def completed(self, caller: Caller, answer: RecordedAnswer) -> int:
        """Return how many queues took an answer."""
        chosen = [each for each in await self.queues.of(caller.project, answer.deployment) if selects(each, answer)]
        return sum([await self._add(each, answer) for each in chosen])

    async def rated(self, caller: Caller, *, deployment: str, inference: str, rating: float) -> int:
        """Return how many queues took an answer because of its rating.

        Raises:
            DependencyUnavailable: inference does not answer.

        """
        chosen = [
            each
            for each in await self.queues.of(caller.project, deployment)
            if selects_rated(each, deployment=deployment, inference=inference, rating=rating)
        ]
        if not chosen:
            return 0
        try:
            answer = await self.answers.read(caller, inference)
        except (InferenceUnknown, InferenceUnanswered):
            return 0  # erased, or asked again, since
        return sum([await self._add(each, answer) for each in chosen])

    async def _add(self, queue: ReviewQueue, answer: RecordedAnswer) -> int:
        sampling = queue.spec.sampling
        if sampling is None or not await self._takes_more(queue, answer):
            return 0
        subject = Subject(kind=SubjectKind.INFERENCE, id=answer.inference)
        item = item_of(queue, subject, answer, reason=sampling.strategy.value)
        if await self.store.is_erased(item, answer.answered_at):
            return 0
        await self.store(item, lambda _: None, request=Request.internal(), known_at=answer.answered_at)
        return 1

    async def _takes_more(self, queue: ReviewQueue, answer: RecordedAnswer) -> bool:
        sampling, limit = queue.spec.sampling, queue.spec.open_limit
        if await self.find.open(queue.project, queue.key, limit=limit) >= limit:
            return False
        if sampling is None or sampling.strategy is not SamplingStrategy.STRATIFIED:
            return True
        most = sampling.max_open_per_stratum
        return await self.find.open(queue.project, queue.key, limit=most, stratum=answer.stratum) < most
