"""Ports of retrieval evaluations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tidemill_core.application import Aggregates, Caller
from tidemill_evaluator.errors import COLLECTION_UNAVAILABLE, NoVerdict
from tidemill_evaluator.retrieval_evaluations.domain.results import RetrievalResult
from tidemill_evaluator.retrieval_evaluations.domain.retrieval_evaluation import RetrievalEvaluation, RetrievalSide

RetrievalEvaluations = Aggregates[RetrievalEvaluation]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchedCollection:
    """A collection as it is now. `documents` are those in each index version that can be searched.

    `settings` are those of the collection, and `index_settings` those of index versions, where these have their own.
    """

    name: str
    live_index: int
    settings: str
    documents: Mapping[int, int]
    index_settings: Mapping[int, str] = field(default_factory=dict)

    def pinned(self, side: RetrievalSide) -> RetrievalSide:
        """Return a side with index version and settings as they are now.

        Raises:
            NoVerdict: the index version cannot be searched.

        """
        if not self.live_index:
            message = f"collection {self.name} has no live index version yet: wait for the first one"
            raise NoVerdict(COLLECTION_UNAVAILABLE, message)
        index = side.index or self.live_index
        if index not in self.documents:
            known = ", ".join(map(str, sorted(self.documents)))
            message = f"collection {self.name} has no index version {index} that can be searched: use {known}, or 0"
            raise NoVerdict(COLLECTION_UNAVAILABLE, message)
        return RetrievalSide(index=index, settings=side.settings or self.index_settings.get(index, self.settings))


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchQuery:
    """One search for documents, by pinned settings."""

    collection: str
    text: str
    side: RetrievalSide
    passages: int
    principals: Sequence[str] = ()


class Retrieval(Protocol):
    """The rag service. Raises rag's errors as the kit's, and DependencyUnavailable if it is unavailable."""

    async def collection(self, caller: Caller, name: str) -> SearchedCollection:
        """Return a collection.

        Raises:
            NotFound: there is none.

        """
        ...

    async def search(self, caller: Caller, query: SearchQuery) -> Sequence[str]:
        """Return the documents of the best passages, best first, each once.

        Raises:
            NotFound: collection or index version does not exist any more.
            InvalidInput: the settings or the query are not accepted; those of settings name `settings`.

        """
        ...

    async def has_document(self, caller: Caller, collection: str, document: str, *, index: int) -> bool:
        """Return whether passages of a document are in an index version."""
        ...


class RetrievalResults(Protocol):
    """Stores the results of cases as they arrive; every write is fenced by the lease's epoch."""

    async def read(self, project: str, evaluation: str) -> Mapping[str, RetrievalResult]:
        """Return the stored results by case."""
        ...

    async def keep(self, project: str, evaluation: str, result: RetrievalResult, *, epoch: int) -> None:
        """Store the result of a case.

        Raises:
            EvaluationLost: a later epoch was there.

        """
        ...
