"""RetrievalService: similarity search."""

from dataclasses import dataclass

from tidemill.rag.v1 import retrieval_service_pb2 as pb
from tidemill.rag.v1.retrieval_service_pb2_grpc import RetrievalServiceServicer
from tidemill_core.rights import principals_of
from tidemill_kit.grpc.server import current_caller
from tidemill_kit.mapping import from_message
from tidemill_rag.search.messages import filters_of, passage_message
from tidemill_rag.search.question import Question
from tidemill_rag.search.search import Search


@dataclass(frozen=True, kw_only=True)
class GrpcRetrievalService(RetrievalServiceServicer):
    """Message -> use case -> message; errors are translated by the server's interceptor."""

    search: Search

    async def Search(self, request: pb.SearchRequest, _context: object) -> pb.SearchResponse:
        """Find the best passages."""
        caller = current_caller()
        accepted, ranges = filters_of(request.metadata_filter)
        question = from_message(
            Question,
            request,
            metadata_filter=accepted,
            ranges=ranges,
            principals=principals_of(caller, request.principals, field="principals"),
        )
        answer = await self.search(caller, question)
        passages = [passage_message(position, match) for position, match in enumerate(answer.passages, start=1)]
        return pb.SearchResponse(passages=passages, index=answer.index, warnings=answer.warnings)
