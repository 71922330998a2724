"""RetrievalEvaluationService."""

from dataclasses import dataclass

from tidemill.evaluator.v1 import retrieval_evaluation_service_pb2 as pb
from tidemill.evaluator.v1.retrieval_evaluation_service_pb2_grpc import RetrievalEvaluationServiceServicer
from tidemill_evaluator.retrieval_evaluations.crud import RetrievalEvaluationCrud
from tidemill_evaluator.retrieval_evaluations.domain.retrieval_evaluation import DEFAULT_DEPTH, Searching
from tidemill_evaluator.retrieval_evaluations.list_retrieval_results import ListResultsCommand, ListRetrievalResults
from tidemill_evaluator.retrieval_evaluations.messages import evaluation_message, result_message, side_of
from tidemill_evaluator.retrieval_evaluations.start_retrieval_evaluation import StartRetrievalEvaluation
from tidemill_kit.grpc.lists import Order
from tidemill_kit.grpc.server import current_caller, page_of, request_of

_FILTERS = {"collection": "collection", "suite": "suite"}
_DIFFERENCE = Order("difference", "worst first", "best first")


@dataclass(frozen=True, kw_only=True)
class GrpcRetrievalEvaluationService(RetrievalEvaluationServiceServicer):
    """Message -> use case -> message."""

    evaluations: RetrievalEvaluationCrud
    start: StartRetrievalEvaluation
    list_results: ListRetrievalResults

    async def StartRetrievalEvaluation(
        self, request: pb.StartRetrievalEvaluationRequest, _context: object
    ) -> pb.StartRetrievalEvaluationResponse:
        """See the contract."""
        searching = Searching(
            suite=request.suite,
            collection=request.collection,
            baseline=side_of(request.baseline, "baseline"),
            candidate=side_of(request.candidate, "candidate") if request.HasField("candidate") else None,
            depth=request.depth or DEFAULT_DEPTH,
            max_cases=request.max_cases,
        )
        started = await self.start(
            current_caller(), searching, request=request_of(request), validate_only=request.validate_only
        )
        return pb.StartRetrievalEvaluationResponse(evaluation=evaluation_message(started))

    async def GetRetrievalEvaluation(
        self, request: pb.GetRetrievalEvaluationRequest, _context: object
    ) -> pb.GetRetrievalEvaluationResponse:
        """See the contract."""
        found = await self.evaluations.get(current_caller(), request.id)
        return pb.GetRetrievalEvaluationResponse(evaluation=evaluation_message(found))

    async def ListRetrievalEvaluations(
        self, request: pb.ListRetrievalEvaluationsRequest, _context: object
    ) -> pb.ListRetrievalEvaluationsResponse:
        """See the contract."""
        page = await self.evaluations.list(current_caller(), page_of(request, filters=_FILTERS))
        return pb.ListRetrievalEvaluationsResponse(
            evaluations=[evaluation_message(each) for each in page.items], next_page_token=page.next_token
        )

    async def CancelRetrievalEvaluation(
        self, request: pb.CancelRetrievalEvaluationRequest, _context: object
    ) -> pb.CancelRetrievalEvaluationResponse:
        """See the contract."""
        cancelled = await self.evaluations.cancel(current_caller(), request.id, request=request_of(request))
        return pb.CancelRetrievalEvaluationResponse(evaluation=evaluation_message(cancelled))

    async def ListRetrievalResults(
        self, request: pb.ListRetrievalResultsRequest, _context: object
    ) -> pb.ListRetrievalResultsResponse:
        """See the contract."""
        asked = page_of(request, filters={}, order=_DIFFERENCE)
        command = ListResultsCommand(
            evaluation=request.evaluation, page=asked, metric=request.metric, best_first=asked.newest_first
        )
        page = await self.list_results(current_caller(), command)
        return pb.ListRetrievalResultsResponse(
            results=[result_message(each) for each in page.items], next_page_token=page.next_token
        )
