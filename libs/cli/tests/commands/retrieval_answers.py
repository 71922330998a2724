# ruff: noqa: ANN401 - messages of many kinds
"""A collection whose questions are found better by terms, and an evaluator that says so."""

from collections.abc import Callable
from typing import Any

from tidemill.content.v1.content_pb2 import Message, Part, Passage
from tidemill.evaluator.v1 import evaluation_pb2 as ev
from tidemill.evaluator.v1 import retrieval_evaluation_pb2 as pb
from tidemill.evaluator.v1 import retrieval_evaluation_service_pb2 as rpc
from tidemill.inference.v1.inference_pb2 import Inference
from tidemill.inference.v1.inference_service_pb2 import GenerateResponse
from tidemill.ingest.v1.document_pb2 import Document
from tidemill.ingest.v1.document_service_pb2 import (
    GetDocumentTextResponse,
    ListDocumentsResponse,
    RevealedPseudonym,
    RevealPseudonymsRequest,
    RevealPseudonymsResponse,
)
from tidemill.rag.v1 import collection_pb2 as rag
from tidemill.rag.v1.collection_service_pb2 import PromoteIndexResponse
from tidemill.rag.v1.retrieval_service_pb2 import SearchResponse

GOOD_WEIGHT = 1.2
DOCUMENTS = 30


def collection() -> rag.Collection:
    live = rag.IndexVersion(
        number=3, state=rag.INDEX_STATE_LIVE, documents_indexed=DOCUMENTS, documents_wanted=DOCUMENTS
    )
    live.sparse.by = "bm25"
    search = rag.SearchSettings(dense_weight=1.0, sparse_weight=0.7)
    return rag.Collection(id="handbook", sources=["manual"], live_index=3, indexes=[live], search=search, etag="e1")


def promoted(index: int) -> rag.Collection:
    """Return the handbook as it is when this index version was promoted."""
    found = collection()
    found.indexes[0].state = rag.INDEX_STATE_READY
    found.indexes[0].expire_time.FromSeconds(1_800_000_000)
    found.indexes.append(rag.IndexVersion(number=index, state=rag.INDEX_STATE_LIVE))
    found.live_index, found.go_live = index, rag.GO_LIVE_BY_ROLLOUT
    return found


class RetrievalAnswers:
    """What rag, evaluator, ingest and inference answer."""

    def __init__(self) -> None:
        self.low = 0.01
        """Lower bound of the difference that evaluator reports."""
        self.score_of_nothing = 0.3
        """Of the best passage of a question that no document answers."""
        self.started: list[rpc.StartRetrievalEvaluationRequest] = []
        self.searched = 0
        self.writes = ["What is written in document {}?"]
        """What the deployment writes, in turn."""

    def answers(self) -> dict[str, Callable[[Any], Any]]:
        service = "evaluator.v1.retrieval_evaluation_service"
        return {
            "rag.v1.retrieval_service:Search": self._search,
            "rag.v1.collection_service:PromoteIndex": lambda r: PromoteIndexResponse(collection=promoted(r.index)),
            "ingest.v1.document_service:ListDocuments": self._documents,
            "ingest.v1.document_service:RevealPseudonyms": _revealed,
            "ingest.v1.document_service:GetDocumentText": lambda r: GetDocumentTextResponse(text=f"Page {r.id}"),
            "inference.v1.inference_service:Generate": self._write,
            f"{service}:StartRetrievalEvaluation": self._start,
            f"{service}:GetRetrievalEvaluation": lambda _: rpc.GetRetrievalEvaluationResponse(evaluation=self._done()),
        }

    def _search(self, request: Any) -> SearchResponse:
        """Find the document that a question names: first by terms, third by vectors."""
        self.searched += 1
        number = request.query.rstrip("?").split()[-1]
        expected = "d" + "".join(each for each in number if each.isdigit())
        found = ["x1", "x2", expected] if request.settings.sparse_weight < GOOD_WEIGHT else [expected, "x1"]
        known = expected != "d" and int(expected.removeprefix("d")) <= DOCUMENTS
        text = (
            f"The document {number} has a text that is long enough to be asked for, and says nothing else at all, " * 2
        )
        if request.settings.identifiers_required and "-" in number and not known:
            return SearchResponse(warnings=["names an identifier that none of the passages has"])
        score = 0.8 if known else self.score_of_nothing
        return SearchResponse(passages=[Passage(document=each, text=text, score=score) for each in found])

    def _documents(self, _request: Any) -> ListDocumentsResponse:
        return ListDocumentsResponse(
            documents=[
                Document(id=f"d{number}", source="manual", key=f"page-{number}") for number in range(1, DOCUMENTS + 1)
            ]
        )

    def _write(self, request: Any) -> GenerateResponse:
        number = request.passages[0].document.removeprefix("d")
        self.writes = [*self.writes[1:], self.writes[0]]
        part = Part(text=self.writes[-1].format(number))
        return GenerateResponse(inference=Inference(output=[Message(parts=[part])]))

    def _start(self, request: Any) -> rpc.StartRetrievalEvaluationResponse:
        self.started.append(request)
        return rpc.StartRetrievalEvaluationResponse(evaluation=pb.RetrievalEvaluation(id="re-1"))

    def _done(self) -> pb.RetrievalEvaluation:
        asked = self.started[-1]
        measures = [
            pb.RetrievalMeasure(
                metric=metric, questions=12, baseline=0.5, candidate=0.9, difference=0.4, low=self.low, high=0.6
            )
            for metric in ("ndcg", "recall", "mrr", "hit", "latency_ms")
        ]
        return pb.RetrievalEvaluation(
            id="re-1",
            suite=asked.suite,
            suite_version=2,
            collection=asked.collection,
            baseline=asked.baseline,
            candidate=asked.candidate if asked.HasField("candidate") else None,
            depth=asked.depth,
            state=ev.EVALUATION_STATE_COMPLETED,
            confidence=0.95,
            gone=1,
            measures=measures,
        )


def _revealed(request: RevealPseudonymsRequest) -> RevealPseudonymsResponse:
    """Know the first of them, as an address that says which document was asked."""
    first, *others = request.pseudonyms
    value = RevealedPseudonym(pseudonym=first, value=f"{request.key}@{request.source}.example")
    return RevealPseudonymsResponse(revealed=[value], unknown=others, version=3)
