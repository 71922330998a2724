"""Questions of examples by their vectors, as rag keeps them."""

from collections.abc import Sequence
from datetime import datetime

import grpc

from tidemill.rag.v1 import similar_text_service_pb2 as pb
from tidemill.rag.v1.similar_text_service_pb2_grpc import SimilarTextServiceStub
from tidemill_core.application import Caller
from tidemill_core.errors import InvalidInput, NotFound
from tidemill_core.grpc.context import acting_as
from tidemill_inference.examples.domain.example_set import Example, ExampleSet
from tidemill_inference.examples.ports import Nearest
from tidemill_kit.mapping import from_timestamp

_CHECK = "check"


class RagQuestionVectors:
    """Implements `ports.QuestionVectors`; the first call with a model loads it."""

    def __init__(self, channel: grpc.aio.Channel, *, timeout_s: float) -> None:
        self._rag = SimilarTextServiceStub(channel)
        self._timeout_s = timeout_s

    async def nearest(
        self, caller: Caller, of: ExampleSet, *, question: str, min_similarity: float, limit: int
    ) -> Sequence[Nearest]:
        """See `QuestionVectors.nearest`."""
        request = pb.FindSimilarTextsRequest(
            model=of.embedding, scope=of.scope, text=question, min_score=min_similarity, limit=limit
        )
        with acting_as(caller):
            reply = await self._rag.FindSimilarTexts(request, timeout=self._timeout_s)
        return [Nearest(text_id=each.id, similarity=round(each.score, 6)) for each in reply.matches]

    async def put(self, caller: Caller, of: ExampleSet, example: Example, *, expire_time: datetime) -> datetime | None:
        """See `QuestionVectors.put`."""
        request = pb.PutSimilarTextRequest(
            model=of.embedding,
            scope=of.scope,
            text=example.question,
            id=of.text_id(example.id),
            end_user=example.asked_by or example.author,
        )
        request.expire_time.FromDatetime(expire_time)
        with acting_as(caller):
            reply = await self._rag.PutSimilarText(request, timeout=self._timeout_s)
        return from_timestamp(reply.expire_time, field="expire_time") if reply.kept else None

    async def remove(self, caller: Caller, text_ids: Sequence[str]) -> None:
        """See `QuestionVectors.remove`."""
        with acting_as(caller):
            await self._rag.RemoveSimilarTexts(pb.RemoveSimilarTextsRequest(ids=text_ids), timeout=self._timeout_s)

    async def check(self, caller: Caller, embedding: str) -> None:
        """See `QuestionVectors.check`."""
        request = pb.FindSimilarTextsRequest(model=embedding, scope=_CHECK, text=_CHECK, min_score=1, limit=1)
        try:
            with acting_as(caller):
                await self._rag.FindSimilarTexts(request, timeout=self._timeout_s)
        except (NotFound, InvalidInput) as error:
            field = "examples.embedding"
            raise InvalidInput.at(field, f"is {embedding}: {error.message}") from error
