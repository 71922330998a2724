"""Feedback on stores in memory."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from services.feedback.tests.builders import ADA, BUCKET, SFT, correction, request, rule_with, write
from services.feedback.tests.fakes import (
    BreakingBatches,
    FakeInferences,
    InMemoryExpectedValues,
    InMemoryLedger,
    InMemoryPending,
    InMemoryPrompts,
    KeptDeadLetters,
)
from tidemill_core.application import Caller
from tidemill_feedback.curations.complete_curation import CompleteCuration
from tidemill_feedback.curations.crud import CurationCrud
from tidemill_feedback.curations.domain.curation import Curation, CurationWasCompleted
from tidemill_feedback.curations.domain.ledger import CurationRef
from tidemill_feedback.curations.forget_examples import ForgetExamples
from tidemill_feedback.curations.measuring import measure
from tidemill_feedback.curations.mongo import CURATIONS
from tidemill_feedback.curations.reconcile_curation import ReconcileCuration
from tidemill_feedback.curations.record_correction import RecordCorrection
from tidemill_feedback.curations.resolve_examples import ResolveExamples
from tidemill_feedback.errors import (
    CurationNotFound,
    FeedbackMetricNotFound,
    FeedbackNotFound,
)
from tidemill_feedback.maturity.expect_values import ExpectValues, MaturingMetrics
from tidemill_feedback.maturity.mature_value import MatureValue
from tidemill_feedback.metrics.crud import FeedbackMetricCrud
from tidemill_feedback.metrics.domain.metric import FeedbackMetric
from tidemill_feedback.metrics.find_metric import FindMetric
from tidemill_feedback.metrics.mongo import METRICS
from tidemill_feedback.reactions.crud import FeedbackCrud
from tidemill_feedback.reactions.domain.feedback import Feedback
from tidemill_feedback.reactions.domain.reaction import Reaction, ReactionLimits
from tidemill_feedback.reactions.erase_end_user import EraseEndUser, EraseReactions
from tidemill_feedback.reactions.erase_late import EraseLate
from tidemill_feedback.reactions.expire_pending import ExpirePending
from tidemill_feedback.reactions.handle_submission import HandleSubmission
from tidemill_feedback.reactions.match_pending import MatchPending
from tidemill_feedback.reactions.mongo import FEEDBACK
from tidemill_feedback.reactions.read_figures import ReadFigures
from tidemill_feedback.reactions.submit_feedback import Submission, SubmitFeedback
from tidemill_testkit.clocks import FixedClock
from tidemill_testkit.objects import InMemoryObjects
from tidemill_testkit.stores import InMemoryAggregates


@dataclass(kw_only=True)
class FeedbackHarness:
    """Everything that app.py puts together, on fakes."""

    clock: FixedClock = field(default_factory=FixedClock)
    limits: ReactionLimits = field(default_factory=ReactionLimits)
    enqueued: list[CurationRef] = field(default_factory=list)
    at_most: int = 1000
    exact_rows: int = 1000
    trusted: Collection[str] = ()
    batch_bytes: int = 1_000_000

    def __post_init__(self) -> None:
        self.feedback: InMemoryAggregates[Feedback] = InMemoryAggregates(
            codec=FEEDBACK, missing=FeedbackNotFound, clock=self.clock
        )
        self.curations: InMemoryAggregates[Curation] = InMemoryAggregates(
            codec=CURATIONS, missing=CurationNotFound, clock=self.clock
        )
        self.metrics = InMemoryAggregates[FeedbackMetric](
            codec=METRICS, missing=FeedbackMetricNotFound, clock=self.clock
        )
        self.declare = FeedbackMetricCrud(metrics=self.metrics)
        self.ledger, self.pending, self.prompts = InMemoryLedger(), InMemoryPending(), InMemoryPrompts()
        self.inferences, self.dead_letters = FakeInferences(), KeptDeadLetters()
        self.objects = InMemoryObjects(BUCKET)
        self.batches = BreakingBatches(self.objects, max_bytes=self.batch_bytes)
        self.crud = CurationCrud(
            curations=self.curations,
            ledger=self.ledger,
            clock=self.clock,
            enqueue=self.enqueued.append,
            at_most=self.at_most,
        )
        self.read = FeedbackCrud(feedback=self.feedback, pending=self.pending, clock=self.clock, keep=3)
        self.reactions = EraseReactions(
            feedback=self.feedback, forget_examples=ForgetExamples(ledger=self.ledger, prompts=self.prompts)
        )
        self.reviews = {"u1": 2}
        """How often something is left of reviews, by end user."""
        self.erase = EraseEndUser(
            pending=self.pending,
            reactions=self.reactions,
            reviews=self._erase_reviews,
            inferences=self.inferences,
        )
        self.record = RecordCorrection(
            feedback=self.feedback, curations=self.curations, ledger=self.ledger, enqueue=self.enqueued.append
        )
        self.submit = SubmitFeedback(
            feedback=self.feedback,
            inferences=self.inferences,
            metric=FindMetric(metrics=self.metrics),
            clock=self.clock,
            limits=self.limits,
            keep=3,
            trusted=self.trusted,
        )
        self._add_what_comes_later()
        self.reconcile = self.new_incarnation()
        self.epoch = 0

    def _add_what_comes_later(self) -> None:
        self.erased_until: dict[str, datetime] = {}
        self.match = MatchPending(
            pending=self.pending,
            inferences=self.inferences,
            submit=self.submit,
            dead_letters=self.dead_letters,
            erased=self._erased,
            late=EraseLate(reactions=self.reactions, erased=self._erased),
        )
        self.expected = InMemoryExpectedValues()
        find = FindMetric(metrics=self.metrics)
        self.figures = ReadFigures(feedback=self.feedback, metric=find, clock=self.clock, max_values=4)
        maturing = MaturingMetrics(self.metrics, self.clock, recheck=timedelta(seconds=5))
        self.expect = ExpectValues(maturing=maturing, expected=self.expected)
        self.mature = MatureValue(
            expected=self.expected,
            feedback=self.feedback,
            inferences=self.inferences,
            metric=find,
            submit=self.submit,
            erased=self._erased,
            late=self.match.late,
            clock=self.clock,
        )
        self.take = HandleSubmission(submit=self.submit, match=self.match, pending=self.pending, clock=self.clock)
        self.expire = ExpirePending(
            pending=self.pending,
            match=self.match,
            dead_letters=self.dead_letters,
            clock=self.clock,
            wait=timedelta(hours=1),
        )

    async def _erase_reviews(self, _: Caller, end_user: str) -> int:
        self.reviews[end_user] = max(0, self.reviews.get(end_user, 0) - 1)
        return self.reviews[end_user]

    async def _erased(self, _: str, end_users: Collection[str]) -> Mapping[str, datetime]:
        return {each: moment for each, moment in self.erased_until.items() if each in end_users}

    def new_incarnation(self) -> ReconcileCuration:
        """Return the worker's work as a process has it that was just started."""
        return ReconcileCuration(
            curations=self.curations,
            feedback=self.feedback,
            ledger=self.ledger,
            resolve=ResolveExamples(
                feedback=self.feedback,
                recorded=self.inferences,
                prompts=self.prompts,
                ledger=self.ledger,
                measure=measure,
                max_concurrent=2,
            ),
            complete=CompleteCuration(
                curations=self.curations,
                feedback=self.feedback,
                ledger=self.ledger,
                prompts=self.prompts,
                batches=self.batches,
                clock=self.clock,
            ),
            clock=self.clock,
            at_most=self.at_most,
            exact_rows=self.exact_rows,
        )

    async def give(
        self, reaction: Reaction, *, request_id: str = "", caller: Caller = ADA, observed_at: datetime | None = None
    ) -> Feedback:
        submission = Submission(
            reaction=reaction,
            request=request(request_id, repr(reaction)),
            observed_at=observed_at or self.clock.now(),
        )
        saved = await self.submit(caller, submission)
        await self.record(caller, saved.id)  # as its event has it done
        return saved

    async def correct(  # noqa: PLR0913 - a correction has many sides
        self,
        number: int,
        *,
        text: str = "",
        end_user: str = "",
        inference: str = "",
        question: str = "",
        labels: Mapping[str, str] | None = None,
    ) -> Feedback:
        """Have the answer `i<number>`, to a question of its own unless one is named, corrected by who asked."""
        inference = inference or f"i{number}"
        if question:
            self.inferences.questions[inference] = question
        if ("acme", inference) not in self.inferences.answers:
            self.inferences.put(inference, end_user=end_user or f"u{number}", question=inference)
        self.clock.advance(timedelta(seconds=1))
        text = text or f"Right answer {number}"
        return await self.give(correction(text, inference=inference, end_user=end_user, labels=labels or {}))

    async def curate(self, **rule: object) -> Curation:
        """Create the curation sft."""
        return (await self.crud.create(ADA, "sft", rule_with(**rule), write())).curation

    async def work(self, ref: CurationRef = SFT) -> timedelta | None:
        """Reconcile the curation sft until nothing is due."""
        for _ in range(20):
            self.epoch += 1
            requeue = await self.reconcile(Caller(project=ref.project), ref, epoch=self.epoch)
            if requeue is None or requeue.after != timedelta(0):
                return requeue.after if requeue else None
        message = "it never comes to rest"
        raise AssertionError(message)

    async def ripen(self) -> int:
        """Record what is due of metrics that mature, and return how many values were."""
        keys = (await self.mature.due(without=frozenset())).items
        for key in keys:
            await self.mature(Caller.of_service(key.project, "feedback"), key)
        return len(keys)

    async def sweep(self) -> int:
        """Expire what is due, and return how many reactions became dead letters."""
        before = len(self.dead_letters.letters)
        page = await self.expire.expired()
        found = list(page.items)
        while page.next_token:
            page = await self.expire.expired(page.next_token)
            found += page.items
        for ref in found:
            await self.expire(Caller.of_service(ref.project, "feedback"), ref.id)
        return len(self.dead_letters.letters) - before

    @property
    def completions(self) -> list[CurationWasCompleted]:
        return [event for event in self.curations.published if isinstance(event, CurationWasCompleted)]

    def batch(self, number: int = -1) -> list[str]:
        """Return the lines of a completion's batch."""
        ref = self.completions[number].batch.object
        return self.objects.buckets[BUCKET][ref.key].decode().splitlines()
