"""Vectors, as rag makes them."""

from collections.abc import Sequence

import grpc

from tidemill.rag.v1 import text_embedding_service_pb2 as pb
from tidemill.rag.v1.text_embedding_service_pb2_grpc import TextEmbeddingServiceStub
from tidemill_core.application import Caller
from tidemill_core.errors import DeadlineExceeded, DependencyUnavailable, Internal
from tidemill_core.grpc.context import acting_as
from tidemill_inference.embeddings.ports import Embedded


class RagEmbedder:
    """Implements `ports.Embedder`."""

    def __init__(self, channel: grpc.aio.Channel, *, timeout_s: float) -> None:
        self._rag = TextEmbeddingServiceStub(channel)
        self._timeout_s = timeout_s

    async def embed(self, caller: Caller, *, model: str, collection: str, texts: Sequence[str]) -> Embedded:
        """See `Embedder.embed`."""
        request = pb.EmbedRequest(model=model, collection=collection, texts=texts)
        try:
            with acting_as(caller):
                reply = await self._rag.Embed(request, timeout=self._timeout_s)
        except (DeadlineExceeded, Internal) as error:
            message = f"rag does not answer: {error.message}"
            raise DependencyUnavailable(message, dependency="rag") from error
        return Embedded(
            model=reply.model,
            vectors=[list(each.values) for each in reply.embeddings],
            input_tokens=sum(each.tokens for each in reply.embeddings),
        )
