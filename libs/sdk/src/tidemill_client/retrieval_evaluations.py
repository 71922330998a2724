"""Retrieval evaluations: what searches of a collection find, measured on judged questions."""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.json_format import MessageToDict

from tidemill.evaluator.v1.retrieval_evaluation_pb2 import RetrievalEvaluation, RetrievalResult, RetrievalSide
from tidemill.evaluator.v1.retrieval_evaluation_service_pb2 import (
    CancelRetrievalEvaluationRequest,
    GetRetrievalEvaluationRequest,
    ListRetrievalEvaluationsRequest,
    ListRetrievalResultsRequest,
    StartRetrievalEvaluationRequest,
)
from tidemill.rag.v1.collection_pb2 import Collection, SearchSettings
from tidemill_client.connection import Connection
from tidemill_client.evaluations import ENDED, PATIENCE_S
from tidemill_client.pages import each, filter_of
from tidemill_client.values import Json, struct_of
from tidemill_client.waiting import poll


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One way of searching: `index` 0 is the live index version, and None the settings that the collection has."""

    index: int = 0
    settings: Mapping[str, Json] | None = None

    @property
    def message(self) -> RetrievalSide:
        """Return its message."""
        settings = None if self.settings is None else struct_of(self.settings)
        return RetrievalSide(index=self.index, settings=settings)


LIVE = Side()


def search_settings(collection: Collection, index: int = 0) -> dict[str, Any]:
    """Return the settings that searches of an index version have, those that are set; 0 is the live one."""
    return MessageToDict(ranking(collection, index), preserving_proto_field_name=True)


def ranking(collection: Collection, index: int = 0) -> SearchSettings:
    """Return how searches of an index version rank; 0 is the live one, beside which a change may wait."""
    number = index or collection.live_index
    searched = next((each for each in collection.indexes if each.number == number), None)
    return searched.search if searched is not None and searched.HasField("search") else collection.search


class RetrievalEvaluations:
    """The retrieval evaluations of a project."""

    def __init__(self, connection: Connection) -> None:
        self._stub = connection.retrieval_evaluations

    async def start(  # noqa: PLR0913 - what is measured, of which each part has a default
        self,
        collection: str,
        suite: str,
        *,
        baseline: Side = LIVE,
        candidate: Side | None = None,
        depth: int = 0,
        max_cases: int = 0,
        request_id: str = "",
    ) -> RetrievalEvaluation:
        """Measure the baseline on a suite's judged questions, or compare the candidate with it."""
        request = StartRetrievalEvaluationRequest(
            suite=suite,
            collection=collection,
            baseline=baseline.message,
            candidate=candidate.message if candidate else None,
            depth=depth,
            max_cases=max_cases,
            request_id=request_id,
        )
        return (await self._stub.StartRetrievalEvaluation(request)).evaluation

    async def get(self, evaluation: str) -> RetrievalEvaluation:
        """Return an evaluation with its figures."""
        return (await self._stub.GetRetrievalEvaluation(GetRetrievalEvaluationRequest(id=evaluation))).evaluation

    def all(self, *, collection: str = "", suite: str = "") -> AsyncIterator[RetrievalEvaluation]:
        """Yield the evaluations, oldest first."""
        request = ListRetrievalEvaluationsRequest(filter=filter_of(collection=collection, suite=suite))
        return each(self._stub.ListRetrievalEvaluations, request, lambda page: page.evaluations)

    def results(self, evaluation: str, *, metric: str = "") -> AsyncIterator[RetrievalResult]:
        """Yield the results of an evaluation, worst first."""
        request = ListRetrievalResultsRequest(evaluation=evaluation, metric=metric)
        return each(self._stub.ListRetrievalResults, request, lambda page: page.results)

    async def cancel(self, evaluation: str) -> RetrievalEvaluation:
        """Cancel an evaluation."""
        return (await self._stub.CancelRetrievalEvaluation(CancelRetrievalEvaluationRequest(id=evaluation))).evaluation

    async def wait(
        self,
        evaluation: str,
        *,
        within_s: float = PATIENCE_S,
        watch: Callable[[RetrievalEvaluation], None] = lambda _evaluation: None,
    ) -> RetrievalEvaluation:
        """Wait until an evaluation is in a terminal state, and return it.

        Raises:
            DeadlineExceeded: `within_s` has passed; the evaluation continues.

        """
        return await poll(
            lambda: self.get(evaluation),
            lambda found: found.state in ENDED,
            what=f"retrieval evaluation {evaluation}",
            within_s=within_s,
            watch=watch,
        )
