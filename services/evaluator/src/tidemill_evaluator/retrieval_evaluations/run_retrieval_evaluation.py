"""Runs a retrieval evaluation; a worker may be killed at any point and another one resumes."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from tidemill_core.application import Caller, Clock, Request, Requeue
from tidemill_core.errors import InvalidInput, NotFound, PermissionDenied
from tidemill_evaluator.errors import (
    COLLECTION_CHANGED,
    COLLECTION_UNAVAILABLE,
    NO_CASES,
    NO_JUDGEMENTS,
    PASSING,
    EvaluationLost,
    EvaluationNotFound,
    NoJudgements,
    NoVerdict,
    first_of,
    waits_for,
)
from tidemill_evaluator.evaluations.domain.job import State
from tidemill_evaluator.retrieval_evaluations.compute_figures import ComputeFigures
from tidemill_evaluator.retrieval_evaluations.domain.results import RetrievalResult
from tidemill_evaluator.retrieval_evaluations.domain.retrieval_evaluation import (
    Pinned,
    RetrievalEvaluation,
)
from tidemill_evaluator.retrieval_evaluations.ports import (
    Retrieval,
    RetrievalEvaluations,
    RetrievalResults,
    SearchedCollection,
)
from tidemill_evaluator.retrieval_evaluations.search_case import SearchCase, Searches
from tidemill_evaluator.suites.domain.cases import Case
from tidemill_evaluator.suites.ports import Cases, Suites

REPORT_EVERY_S = 1.0
"""Progress is written at most so often: searches take milliseconds."""


@dataclass(slots=True, kw_only=True)
class _Progress:
    began: datetime
    ahead: int
    known: int
    reported: datetime
    results: list[RetrievalResult] = field(default_factory=list)

    def remaining_s(self, now: datetime) -> float | None:
        done = len(self.results)
        return (now - self.began).total_seconds() / done * (self.ahead - done) if done else None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRetrievalEvaluation:
    """Emits RetrievalEvaluationHasStarted, then RetrievalEvaluationHasCompleted or RetrievalEvaluationHasFailed.

    Questions, index versions and settings are pinned first; results are stored as they arrive, so that a worker that
    resumes searches no case twice.
    """

    evaluations: RetrievalEvaluations
    suites: Suites
    cases: Cases
    results: RetrievalResults
    retrieval: Retrieval
    search: SearchCase
    compute_figures: ComputeFigures
    max_concurrent: asyncio.Semaphore
    """Cases in flight in this process, over all its evaluations."""
    clock: Clock

    async def __call__(self, caller: Caller, evaluation_id: str, *, epoch: int) -> Requeue | None:
        """Run the evaluation under a lease with this epoch; `Requeue` means that it waits for another service."""
        try:
            return await self._run(caller, evaluation_id, epoch)
        except (EvaluationLost, EvaluationNotFound):
            return None  # it is finished or cancelled, or another worker has it

    async def _run(self, caller: Caller, evaluation_id: str, epoch: int) -> Requeue | None:
        evaluation = await self.evaluations.update(
            caller.project, evaluation_id, lambda e: e.claim(epoch), request=Request.internal()
        )
        try:
            await self._measure(caller, evaluation)
        except PASSING as passing:
            message = waits_for(passing)
            await self._write(evaluation, lambda e: e.wait(message, epoch=epoch))
            return Requeue()
        except NoVerdict as none:
            reason, why, now = none.reason, none.message, self.clock.now()
            await self._write(evaluation, lambda e: e.fail(reason=reason, message=why, now=now, epoch=epoch))
        return None

    async def _measure(self, caller: Caller, evaluation: RetrievalEvaluation) -> None:
        if evaluation.state is State.QUEUED:
            evaluation = await self._begin(caller, evaluation)
        pinned, epoch = evaluation.pinned, evaluation.epoch
        if pinned is None:
            raise EvaluationLost(evaluation.id)
        cases = await self._cases(evaluation, pinned)
        judged = [case for case in cases if case.relevant]
        if not judged:
            raise NoVerdict(NO_JUDGEMENTS, NoJudgements(evaluation.suite).message)
        searches = Searches(caller=caller, searching=evaluation.searching, pinned=pinned)
        results = await self._search_all(evaluation, searches, judged)
        questions = {case.id: case.asked for case in judged}
        figures = await self.compute_figures(evaluation.searching.confidence, results, questions)
        figures = replace(figures, unjudged=len(cases) - len(judged))
        notes = await self._changes(caller, evaluation, pinned)
        now = self.clock.now()
        await self._write(evaluation, lambda e: e.complete(figures, notes=notes, now=now, epoch=epoch))

    async def _begin(self, caller: Caller, evaluation: RetrievalEvaluation) -> RetrievalEvaluation:
        searching = evaluation.searching
        try:
            case_set = (await self.suites.get(caller.project, searching.suite)).case_set
        except NotFound as error:
            raise NoVerdict(NO_CASES, error.message) from error
        collection = await self._collection(caller, evaluation)
        pinned = Pinned(
            case_set=case_set.at_most(searching.max_cases) if searching.max_cases else case_set,
            baseline=collection.pinned(searching.baseline),
            candidate=collection.pinned(searching.candidate) if searching.candidate else None,
            documents=sum(collection.documents.values()),
        )
        now, epoch = self.clock.now(), evaluation.epoch
        return await self._write(evaluation, lambda e: e.begin(pinned, now=now, epoch=epoch))

    async def _collection(self, caller: Caller, evaluation: RetrievalEvaluation) -> SearchedCollection:
        try:
            return await self.retrieval.collection(caller, evaluation.collection)
        except NotFound as error:
            raise NoVerdict(COLLECTION_UNAVAILABLE, error.message) from error

    async def _cases(self, evaluation: RetrievalEvaluation, pinned: Pinned) -> Sequence[Case]:
        try:
            return await self.cases.read(evaluation.project, pinned.case_set)
        except (NotFound, InvalidInput, PermissionDenied) as error:
            message = f"the cases of {pinned.case_set.name} cannot be read: {error.message}"
            raise NoVerdict(NO_CASES, message) from error

    async def _search_all(
        self, evaluation: RetrievalEvaluation, searches: Searches, judged: Sequence[Case]
    ) -> Sequence[RetrievalResult]:
        known: Mapping[str, RetrievalResult] = await self.results.read(evaluation.project, evaluation.id)
        todo = [case for case in judged if case.id not in known]
        now = self.clock.now()
        progress = _Progress(began=now, ahead=len(todo), known=len(known), reported=now)

        async def search(number: int, case: Case) -> None:
            async with self.max_concurrent:
                result = await self.search(searches, case, candidate_first=number % 2 == 1)
                await self.results.keep(evaluation.project, evaluation.id, result, epoch=evaluation.epoch)
            progress.results.append(result)
            await self._report(evaluation, progress)

        try:
            async with asyncio.TaskGroup() as group:
                for number, case in enumerate(todo):
                    group.create_task(search(number, case))
        except ExceptionGroup as failures:
            raise first_of(failures) from failures
        return [*(known[case.id] for case in judged if case.id in known), *progress.results]

    async def _report(self, evaluation: RetrievalEvaluation, progress: _Progress) -> None:
        now = self.clock.now()
        if (now - progress.reported).total_seconds() < REPORT_EVERY_S:
            return
        progress.reported = now
        answered, remaining_s = progress.known + len(progress.results), progress.remaining_s(now)
        await self._write(evaluation, lambda e: e.progress(answered, remaining_s=remaining_s, epoch=evaluation.epoch))

    async def _changes(self, caller: Caller, evaluation: RetrievalEvaluation, pinned: Pinned) -> Sequence[str]:
        """Return what changed in the collection meanwhile, in words.

        Raises:
            NoVerdict: an index version that was searched is gone.

        """
        collection = await self._collection(caller, evaluation)
        for side in filter(None, (pinned.baseline, pinned.candidate)):
            if side.index not in collection.documents:
                message = f"index version {side.index} of {evaluation.collection} was replaced while it was searched"
                raise NoVerdict(COLLECTION_CHANGED, f"{message}: start the evaluation again")
        documents = sum(collection.documents.values())
        if documents == pinned.documents:
            return ()
        return (f"documents changed while they were searched: {pinned.documents} at the start, {documents} at the end",)

    async def _write(
        self, evaluation: RetrievalEvaluation, change: Callable[[RetrievalEvaluation], None]
    ) -> RetrievalEvaluation:
        return await self.evaluations.update(evaluation.project, evaluation.id, change, request=Request.internal())
