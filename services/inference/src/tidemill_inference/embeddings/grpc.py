"""EmbeddingService: message -> use case -> message."""

import asyncio

from tidemill.inference.v1 import embedding_service_pb2 as pb
from tidemill.inference.v1.embedding_service_pb2_grpc import EmbeddingServiceServicer
from tidemill_inference.embeddings.embed import EmbedTexts
from tidemill_inference.embeddings.ports import Embedded
from tidemill_kit.grpc.server import current_caller


class GrpcEmbeddingService(EmbeddingServiceServicer):
    """Serves vectors; errors are mapped by the kit's interceptor."""

    def __init__(self, embed: EmbedTexts) -> None:
        self._embed = embed

    async def Embed(self, request: pb.EmbedRequest, _context: object) -> pb.EmbedResponse:
        """Return the vectors of texts."""
        embedded = await self._embed(
            current_caller(), model=request.model, texts=list(request.texts), dimensions=request.dimensions
        )
        return await asyncio.to_thread(_message, embedded)


def _message(embedded: Embedded) -> pb.EmbedResponse:
    vectors = (pb.Embedding(values=each) for each in embedded.vectors)
    return pb.EmbedResponse(embeddings=vectors, model=embedded.model, input_tokens=embedded.input_tokens)
