"""Use case: start a retrieval evaluation."""

from collections.abc import Iterator
from dataclasses import dataclass

from tidemill_core.application import Caller, Request, ResourceKey
from tidemill_core.errors import AlreadyExists, InvalidInput, RequestIdReused, Violation
from tidemill_core.resources import refuse, slug_violations
from tidemill_evaluator.errors import NoJudgements
from tidemill_evaluator.evaluations.ports import Enqueue
from tidemill_evaluator.gates.domain.gate import MAX_RETRIEVAL_DEPTH
from tidemill_evaluator.retrieval_evaluations.domain.retrieval_evaluation import (
    RetrievalEvaluation,
    RetrievalSide,
    Searching,
)
from tidemill_evaluator.retrieval_evaluations.ports import Retrieval, RetrievalEvaluations, SearchQuery
from tidemill_evaluator.suites.ports import Suites

MAX_SETTINGS_LENGTH = 8000


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRetrievalEvaluation:
    """The id derives from the request id, so a repeated request starts nothing.

    What rag refuses is refused here: each side's settings are tried by one search, and its index version is looked up.
    """

    evaluations: RetrievalEvaluations
    suites: Suites
    retrieval: Retrieval
    enqueue: Enqueue

    async def __call__(
        self, caller: Caller, searching: Searching, *, request: Request, validate_only: bool = False
    ) -> RetrievalEvaluation:
        """Return the evaluation, QUEUED.

        Raises:
            InvalidInput: naming every field that breaks its rule.
            SuiteNotFound, NotFound: there is no such suite or collection.
            NoJudgements: no case of the suite names a relevant document.
            NoVerdict: an index version cannot be searched.

        """
        refuse(_violations(searching))
        suite = await self.suites.get(caller.project, searching.suite)
        if not suite.judged:
            raise NoJudgements(suite.id)
        await self._try(caller, searching)
        evaluation = RetrievalEvaluation.queued(
            caller.project,
            searching,
            request_id=request.id,
            asked_by=request.digest,
            requester=caller.proven_subject,
        )
        if validate_only:
            return evaluation
        saved = await self._add(evaluation, request)
        self.enqueue(ResourceKey(project=saved.project, id=saved.id))
        return saved

    async def _try(self, caller: Caller, searching: Searching) -> None:
        collection = await self.retrieval.collection(caller, searching.collection)
        for name, side in _sides(searching):
            query = SearchQuery(
                collection=searching.collection, text=searching.collection, side=collection.pinned(side), passages=1
            )
            try:
                await self.retrieval.search(caller, query)
            except InvalidInput as error:
                raise error.renamed(f"{name}.{{}}".format) from error

    async def _add(self, evaluation: RetrievalEvaluation, request: Request) -> RetrievalEvaluation:
        try:
            return await self.evaluations.add(evaluation, request=request)
        except AlreadyExists:  # the aggregate's request log has expired
            stored = await self.evaluations.get(evaluation.project, evaluation.id)
            if stored.asked_by != request.digest:
                raise RequestIdReused(request.id) from None
            return stored


def _sides(searching: Searching) -> list[tuple[str, RetrievalSide]]:
    sides = [("baseline", searching.baseline)]
    return [*sides, ("candidate", searching.candidate)] if searching.candidate else sides


def _violations(searching: Searching) -> Iterator[Violation]:
    yield from slug_violations("suite", searching.suite)
    yield from slug_violations("collection", searching.collection)
    if not 1 <= searching.depth <= MAX_RETRIEVAL_DEPTH:
        yield Violation("depth", f"is {searching.depth}: send 1 to {MAX_RETRIEVAL_DEPTH}, or 0 for the default")
    if searching.max_cases < 0:
        yield Violation("max_cases", f"is {searching.max_cases}: send a number of cases, or 0 for all")
    for name, side in _sides(searching):
        if side.index < 0:
            text = f"is {side.index}: send the number of an index version, or 0 for the live one"
            yield Violation(f"{name}.index", text)
        if len(side.settings) > MAX_SETTINGS_LENGTH:
            text = f"has {len(side.settings)} characters as JSON; the limit is {MAX_SETTINGS_LENGTH}"
            yield Violation(f"{name}.settings", text)
