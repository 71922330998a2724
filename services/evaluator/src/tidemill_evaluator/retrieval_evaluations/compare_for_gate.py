"""Compare what searches of an index version find with those of the live one, for the evaluation of a gate."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from tidemill_core.application import Caller, Clock, Request, ResourceKey
from tidemill_core.errors import AlreadyExists, NotFound
from tidemill_evaluator.errors import (
    COLLECTION_CHANGED,
    COLLECTION_UNAVAILABLE,
    NO_CASES,
    EvaluationFinished,
    EvaluationLost,
    EvaluationNotFound,
    NoVerdict,
)
from tidemill_evaluator.evaluations.domain.comparison import Comparison, Evidence
from tidemill_evaluator.evaluations.domain.evaluation import Evaluation
from tidemill_evaluator.evaluations.domain.job import UNFINISHED, State
from tidemill_evaluator.evaluations.ports import ComparedSearches, Enqueue
from tidemill_evaluator.gates.domain.gate import RetrievalRequirement
from tidemill_evaluator.retrieval_evaluations.domain.results import RetrievalMeasure
from tidemill_evaluator.retrieval_evaluations.domain.retrieval_evaluation import (
    DEFAULT_DEPTH,
    Figures,
    Pinned,
    RetrievalEvaluation,
    RetrievalSide,
    Searching,
    id_for_gate,
)
from tidemill_evaluator.retrieval_evaluations.ports import Retrieval, RetrievalEvaluations, SearchedCollection


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareForGate:
    """Implements `RetrievalComparisons` by a retrieval evaluation, which is pinned and resumable as any other."""

    evaluations: RetrievalEvaluations
    retrieval: Retrieval
    evidence: Evidence
    enqueue: Enqueue
    clock: Clock

    async def started(self, caller: Caller, evaluation: Evaluation) -> str:
        """See `RetrievalComparisons.started`."""
        comparing, candidate = evaluation.comparing, RetrievalSide(index=evaluation.comparing.index)
        required = _required(evaluation)
        collection = await self._collection(caller, comparing.collection)
        collection.pinned(candidate)
        if collection.live_index == candidate.index:
            message = f"index version {candidate.index} of {comparing.collection} is live already"
            raise NoVerdict(COLLECTION_UNAVAILABLE, message)
        started = RetrievalEvaluation.for_gate(
            evaluation.project,
            Searching(
                suite=required.suite,
                collection=comparing.collection,
                candidate=candidate,
                depth=required.depth or DEFAULT_DEPTH,
                confidence=evaluation.confidence,
            ),
            evaluation=evaluation.id,
            requester=evaluation.requester,
        )
        try:
            await self.evaluations.add(started, request=Request(id=started.id, digest=started.id))
        except AlreadyExists:
            return started.id  # a worker that crashed had started it
        self.enqueue(ResourceKey(project=started.project, id=started.id))
        return started.id

    async def result(self, caller: Caller, evaluation: Evaluation) -> ComparedSearches | None:
        """See `RetrievalComparisons.result`."""
        found = await self._found(caller, evaluation)
        if found.state in UNFINISHED:
            return None
        if found.state is not State.COMPLETED or found.figures is None or found.pinned is None:
            raise NoVerdict(found.reason, f"retrieval evaluation {found.id}: {found.message}")
        baseline = found.pinned.baseline.index
        if baseline == evaluation.comparing.index:
            message = f"index version {baseline} of {found.collection} went live before it was compared"
            raise NoVerdict(COLLECTION_CHANGED, message)
        comparison = self._compared(_required(evaluation), found.figures, found.pinned)
        return ComparedSearches(comparison=comparison, baseline_index=baseline)

    async def stop(self, caller: Caller, evaluation: Evaluation) -> None:
        """See `RetrievalComparisons.stop`."""
        now, message = self.clock.now(), f"evaluation {evaluation.id}, which it was part of, has ended"
        with suppress(EvaluationNotFound, EvaluationFinished):
            await self.evaluations.update(
                caller.project,
                id_for_gate(caller.project, evaluation.id),
                lambda each: each.cancel(now, message=message),
                request=Request.internal(),
            )

    async def check_unchanged(self, caller: Caller, evaluation: Evaluation) -> None:
        """See `RetrievalComparisons.check_unchanged`."""
        found = await self._found(caller, evaluation)
        if found.pinned is None:
            raise EvaluationLost(evaluation.id)
        collection, compared = await self._collection(caller, found.collection), found.pinned.baseline.index
        if collection.live_index != compared:
            message = f"index version {collection.live_index} of {found.collection} is live by now, and not {compared}"
            raise NoVerdict(COLLECTION_CHANGED, message)
        if evaluation.comparing.index not in collection.documents:
            message = f"index version {evaluation.comparing.index} of {found.collection} was retired meanwhile"
            raise NoVerdict(COLLECTION_UNAVAILABLE, message)

    async def _found(self, caller: Caller, evaluation: Evaluation) -> RetrievalEvaluation:
        try:
            return await self.evaluations.get(caller.project, evaluation.retrieval_evaluation)
        except EvaluationNotFound as error:
            message = f"retrieval evaluation {evaluation.retrieval_evaluation} is not there any more"
            raise NoVerdict(NO_CASES, message) from error

    async def _collection(self, caller: Caller, name: str) -> SearchedCollection:
        try:
            return await self.retrieval.collection(caller, name)
        except NotFound as error:
            raise NoVerdict(COLLECTION_UNAVAILABLE, error.message) from error

    def _compared(self, required: RetrievalRequirement, figures: Figures, pinned: Pinned) -> Comparison:
        measure = next(each for each in figures.measures if each.metric == required.metric)
        asked = pinned.case_set.size - figures.unjudged
        notes = "; ".join(self._shortfalls(required, measure, failures=figures.failures, asked=asked))
        return Comparison(
            case_set=pinned.case_set.name,
            metric=measure.metric,
            cases=measure.questions,
            baseline=measure.baseline,
            candidate=measure.candidate,
            difference=measure.difference,
            low=measure.low,
            high=measure.high,
            required=True,
            gain_above=required.gain_above,
            at_least=required.at_least,
            holds=not notes,
            baseline_failures=0,
            candidate_failures=0,
            unanswered=figures.failures,
            note=notes,
            clusters=measure.questions,
        )

    def _shortfalls(
        self, required: RetrievalRequirement, measure: RetrievalMeasure, *, failures: int, asked: int
    ) -> Iterator[str]:
        """Yield why the requirement does not hold."""
        if failures > self.evidence.max_unanswered * asked:
            yield f"{failures} of {asked} searches failed; the limit is {self.evidence.max_unanswered:.0%}"
        minimum = self.evidence.questions_for(required)
        if measure.questions < minimum:
            yield f"{measure.questions} distinct questions were searched; at least {minimum} are needed: judge more"
        elif measure.low <= required.gain_above:
            yield f"the lower bound is {measure.low:+.4f}; it must be above {required.gain_above:+g}"


def _required(evaluation: Evaluation) -> RetrievalRequirement:
    if evaluation.comparing.retrieval is None:
        raise EvaluationLost(evaluation.id)
    return evaluation.comparing.retrieval
