"""TextEmbeddingService: message -> use case -> message."""

from dataclasses import dataclass

from tidemill.rag.v1 import text_embedding_service_pb2 as pb
from tidemill.rag.v1.text_embedding_service_pb2_grpc import TextEmbeddingServiceServicer
from tidemill_kit.grpc.server import current_caller
from tidemill_rag.embedding.embed import EmbedTexts


@dataclass(frozen=True, kw_only=True)
class GrpcTextEmbeddingService(TextEmbeddingServiceServicer):
    """Serves vectors; errors are translated by the server's interceptor."""

    embed: EmbedTexts

    async def Embed(self, request: pb.EmbedRequest, _context: object) -> pb.EmbedResponse:
        """Return the vectors of texts."""
        model, embedded = await self.embed(
            current_caller(), model=request.model, collection=request.collection, texts=list(request.texts)
        )
        return pb.EmbedResponse(
            model=model, embeddings=[pb.Embedding(values=each.vector, tokens=each.tokens) for each in embedded]
        )

    async def CompareTokens(self, request: pb.CompareTokensRequest, _context: object) -> pb.CompareTokensResponse:
        """Return how near the tokens of texts and references are."""
        model, matches = await self.embed.match_tokens(
            current_caller(),
            model=request.model,
            collection=request.collection,
            pairs=[(each.text, each.reference) for each in request.pairs],
        )
        found = [pb.TokenMatch(precision=each.precision, recall=each.recall) for each in matches]
        return pb.CompareTokensResponse(model=model, matches=found)
