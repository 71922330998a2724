"""Client of rag, which embeds."""

from collections.abc import Sequence

import grpc

from tidemill.rag.v1 import text_embedding_service_pb2 as pb
from tidemill.rag.v1.text_embedding_service_pb2_grpc import TextEmbeddingServiceStub
from tidemill_core.application import Caller
from tidemill_core.errors import DeadlineExceeded, DependencyUnavailable, Internal, InvalidInput
from tidemill_core.grpc.context import acting_as
from tidemill_evaluator.metrics.domain.embedding import COLLECTION
from tidemill_evaluator.metrics.ports import TextRefused, TokenMatch

_PROBE = "?"
"""Asks for the version of a model, which comes with a vector only."""
_TOO_LONG = "TEXT_TOO_LONG"


class RagEmbedder:
    """Implements `ports.Embedder` and `ports.TokenMatcher`."""

    def __init__(self, channel: grpc.aio.Channel, *, timeout_s: float) -> None:
        self._rag = TextEmbeddingServiceStub(channel)
        self._timeout_s = timeout_s

    async def version(self, caller: Caller, model: str) -> str:
        """See `Embedder.version`."""
        if model.startswith(COLLECTION):
            request = pb.EmbedRequest(collection=model.removeprefix(COLLECTION), texts=[_PROBE])
        else:
            request = pb.EmbedRequest(model=model, texts=[_PROBE])
        return (await self._call(caller, request)).model

    async def embed(self, caller: Caller, version: str, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """See `Embedder.embed`."""
        try:
            reply = await self._call(caller, pb.EmbedRequest(model=version, texts=texts))
        except InvalidInput as error:
            number = _number_in(error)
            if number is None:
                raise
            raise TextRefused(number, too_long=error.reason == _TOO_LONG) from error
        return [list(each.values) for each in reply.embeddings]

    async def match(self, caller: Caller, version: str, pairs: Sequence[tuple[str, str]]) -> Sequence[TokenMatch]:
        """See `TokenMatcher.match`."""
        asked = [pb.TextPair(text=text, reference=reference) for text, reference in pairs]
        request = pb.CompareTokensRequest(model=version, pairs=asked)
        try:
            with acting_as(caller):
                reply = await self._rag.CompareTokens(request, timeout=self._timeout_s)
        except (DeadlineExceeded, Internal) as error:
            raise _away(error) from error
        return [TokenMatch(precision=each.precision, recall=each.recall) for each in reply.matches]

    async def _call(self, caller: Caller, request: pb.EmbedRequest) -> pb.EmbedResponse:
        try:
            with acting_as(caller):
                return await self._rag.Embed(request, timeout=self._timeout_s)
        except (DeadlineExceeded, Internal) as error:
            raise _away(error) from error


def _away(error: DeadlineExceeded | Internal) -> DependencyUnavailable:
    message = f"rag does not answer: {error.message}"
    return DependencyUnavailable(message, dependency="rag")


def _number_in(error: InvalidInput) -> int | None:
    """Return which text is refused; None where something else is."""
    for each in error.violations:
        head, _, number = each.field.rstrip("]").partition("[")
        if head == "texts" and number.isdecimal():
            return int(number)
    return None
