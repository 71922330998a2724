"""Searches one case by each side, and scores what it found."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from heapq import nlargest
from typing import TypeVar

from tidemill_core.application import Caller
from tidemill_core.errors import InvalidInput, NotFound, TidemillError
from tidemill_core.rankings import ranking_scores
from tidemill_evaluator.errors import (
    COLLECTION_CHANGED,
    COLLECTION_UNAVAILABLE,
    PASSING,
    SETTINGS_REJECTED,
    NoVerdict,
)
from tidemill_evaluator.retrieval_evaluations.domain.results import RankedDocuments, RetrievalResult
from tidemill_evaluator.retrieval_evaluations.domain.retrieval_evaluation import (
    PASSAGES_PER_DOCUMENT,
    Pinned,
    RetrievalSide,
    Searching,
)
from tidemill_evaluator.retrieval_evaluations.ports import Retrieval, SearchQuery
from tidemill_evaluator.suites.domain.cases import Case

T = TypeVar("T")

MAX_CHECKED = 100
"""Relevant documents of a case that are looked up if no side found them: those of the highest grades."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Searches:
    """What is the same for all cases of an evaluation; `there` remembers which documents its indexes have."""

    caller: Caller
    searching: Searching
    pinned: Pinned
    there: dict[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchCase:
    """A search that is refused for its question fails that case alone; what else is refused, ends the evaluation.

    A relevant document that neither side found and neither index has is gone: it counts neither for nor against them.
    """

    retrieval: Retrieval
    attempts: int
    pause_s: float
    seconds: Callable[[], float] = time.monotonic

    async def __call__(self, searches: Searches, case: Case, *, candidate_first: bool) -> RetrievalResult:
        """Return the result of a case.

        Raises:
            NoVerdict: collection, index version or settings cannot be searched by.
            DependencyUnavailable, RateLimited, DeadlineExceeded: rag does not answer, also after further attempts.

        """
        pinned, candidate = searches.pinned, None
        if pinned.candidate and candidate_first:  # who comes second may profit from caches
            candidate = await self._ranked(searches, case, pinned.candidate)
        baseline = await self._ranked(searches, case, pinned.baseline)
        if pinned.candidate and candidate is None:
            candidate = await self._ranked(searches, case, pinned.candidate)
        checked = nlargest(MAX_CHECKED, case.relevant, key=case.relevant.__getitem__)
        gone = [each for each in checked if not await self._is_there(searches, each, baseline, candidate)]
        grades = {document: grade for document, grade in case.relevant.items() if document not in gone}
        depth = searches.searching.depth
        return RetrievalResult(
            case=case.id,
            baseline=_scored(baseline, grades, depth),
            candidate=_scored(candidate, grades, depth) if candidate else None,
            gone=tuple(gone),
            all_gone=not grades,
        )

    async def _ranked(self, searches: Searches, case: Case, side: RetrievalSide) -> RankedDocuments:
        query = SearchQuery(
            collection=searches.searching.collection,
            text=case.question,
            side=side,
            passages=searches.searching.depth * PASSAGES_PER_DOCUMENT,
            principals=case.context.principals,
        )

        async def timed() -> RankedDocuments:
            began = self.seconds()
            documents = await self.retrieval.search(searches.caller, query)
            return RankedDocuments(documents=tuple(documents), latency_s=self.seconds() - began)

        try:
            return await self._patiently(timed)
        except InvalidInput as error:
            if any(each.field.startswith("settings") for each in error.violations):
                raise NoVerdict(SETTINGS_REJECTED, f"rag refuses the settings: {error.message}") from error
            return RankedDocuments(failure=error.reason)
        except NotFound as error:
            message = f"{error.message}: it changed while it was searched; start the evaluation again"
            raise NoVerdict(COLLECTION_CHANGED, message) from error
        except PASSING:
            raise
        except TidemillError as error:
            raise NoVerdict(COLLECTION_UNAVAILABLE, error.message) from error

    async def _is_there(
        self, searches: Searches, document: str, baseline: RankedDocuments, candidate: RankedDocuments | None
    ) -> bool:
        sides = [baseline, candidate] if candidate else [baseline]
        if any(side.failure or document in side.documents for side in sides):
            return True
        if document not in searches.there:
            indexes = {each.index for each in (searches.pinned.baseline, searches.pinned.candidate) if each}
            searches.there[document] = any([await self._has(searches, document, index) for index in sorted(indexes)])
        return searches.there[document]

    async def _has(self, searches: Searches, document: str, index: int) -> bool:
        collection = searches.searching.collection
        return await self._patiently(
            lambda: self.retrieval.has_document(searches.caller, collection, document, index=index)
        )

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        for attempt in range(1, self.attempts):
            try:
                return await work()
            except PASSING:
                await asyncio.sleep(self.pause_s * 2 ** (attempt - 1))
        return await work()


def _scored(side: RankedDocuments, grades: Mapping[str, int], depth: int) -> RankedDocuments:
    return RankedDocuments(
        documents=side.documents[:depth],
        scores=ranking_scores(side.documents, grades, depth=depth),
        latency_s=side.latency_s,
        failure=side.failure,
    )
