"""SimilarTextService: message -> use case -> message."""

from dataclasses import dataclass

from tidemill.rag.v1 import similar_text_service_pb2 as pb
from tidemill.rag.v1.similar_text_service_pb2_grpc import SimilarTextServiceServicer
from tidemill_kit.grpc.server import current_caller, required
from tidemill_kit.mapping import from_timestamp
from tidemill_rag.similarity.similar_texts import Compared, FindSimilarTexts, PutSimilarText, RemoveSimilarTexts


@dataclass(frozen=True, kw_only=True)
class GrpcSimilarTextService(SimilarTextServiceServicer):
    """Serves ids by similarity; errors are translated by the server's interceptor."""

    find: FindSimilarTexts
    put: PutSimilarText
    remove: RemoveSimilarTexts

    async def FindSimilarTexts(
        self, request: pb.FindSimilarTextsRequest, _context: object
    ) -> pb.FindSimilarTextsResponse:
        """Return the most similar ones."""
        compared = Compared(model=request.model, scope=request.scope, text=request.text)
        matches = await self.find(current_caller(), compared, min_score=request.min_score, limit=request.limit)
        return pb.FindSimilarTextsResponse(matches=[pb.SimilarText(id=each.id, score=each.score) for each in matches])

    async def PutSimilarText(self, request: pb.PutSimilarTextRequest, _context: object) -> pb.PutSimilarTextResponse:
        """Keep one."""
        required(request, "expire_time")
        until = await self.put(
            current_caller(),
            Compared(model=request.model, scope=request.scope, text=request.text),
            text_id=request.id,
            expire_time=from_timestamp(request.expire_time, field="expire_time"),
            end_user=request.end_user,
        )
        response = pb.PutSimilarTextResponse(kept=until is not None)
        if until is not None:
            response.expire_time.FromDatetime(until)
        return response

    async def RemoveSimilarTexts(
        self, request: pb.RemoveSimilarTextsRequest, _context: object
    ) -> pb.RemoveSimilarTextsResponse:
        """Remove some."""
        await self.remove(current_caller(), list(request.ids))
        return pb.RemoveSimilarTextsResponse()
