"""Results of retrieval evaluations: one document for each case, read by evaluation."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from tidemill_core.application import derived_id
from tidemill_evaluator.errors import EvaluationLost
from tidemill_evaluator.retrieval_evaluations.domain.results import RankedDocuments, RetrievalResult
from tidemill_kit.store.mongo import Collection, Document, translated, update_or_insert


class MongoRetrievalResults:
    """Implements `ports.RetrievalResults`. Each document stores the epoch of its last writer, and refuses earlier ones.

    An evaluation has as many as a suite has cases.
    """

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    async def ensure_indexes(self) -> None:
        """Create the index by which results are read and erased."""
        with translated():
            await self._collection.create_index([("project", 1), ("evaluation", 1)])

    async def read(self, project: str, evaluation: str) -> Mapping[str, RetrievalResult]:
        """See `RetrievalResults.read`."""
        with translated():
            found = await self._collection.find({"project": project, "evaluation": evaluation}).to_list(None)
        return {document["case"]: _result(document) for document in found}

    async def keep(self, project: str, evaluation: str, result: RetrievalResult, *, epoch: int) -> None:
        """See `RetrievalResults.keep`."""
        key = f"{project}/{derived_id(evaluation, result.case)}"
        fields = {
            "project": project,
            "evaluation": evaluation,
            "case": result.case,
            "baseline": _side_document(result.baseline),
            "candidate": _side_document(result.candidate) if result.candidate else None,
            "gone": [*result.gone],
            "all_gone": result.all_gone,
            "epoch": epoch,
        }
        fenced: Document = {"_id": key, "epoch": {"$not": {"$gt": epoch}}}
        if not await update_or_insert(self._collection, fenced, {"$set": fields}):
            raise EvaluationLost(evaluation)


def _side_document(side: RankedDocuments) -> Document:
    return asdict(side) | {"documents": [*side.documents], "scores": dict(side.scores)}


def _result(document: Document) -> RetrievalResult:
    candidate: dict[str, Any] | None = document["candidate"]
    return RetrievalResult(
        case=document["case"],
        baseline=_side(document["baseline"]),
        candidate=_side(candidate) if candidate else None,
        gone=tuple(document["gone"]),
        all_gone=document["all_gone"],
    )


def _side(document: dict[str, Any]) -> RankedDocuments:
    return RankedDocuments(**(document | {"documents": tuple(document["documents"])}))
