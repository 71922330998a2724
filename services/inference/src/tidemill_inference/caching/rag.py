"""Earlier questions by their vectors, as rag keeps them."""

from collections.abc import Sequence
from datetime import datetime

import grpc

from tidemill.rag.v1 import similar_text_service_pb2 as pb
from tidemill.rag.v1.similar_text_service_pb2_grpc import SimilarTextServiceStub
from tidemill_core.application import Caller
from tidemill_core.errors import InvalidInput, NotFound
from tidemill_core.grpc.context import acting_as
from tidemill_inference.caching.domain.policy import SemanticCachePolicy
from tidemill_inference.caching.ports import SimilarQuestion

_CHECK = "check"


class RagSimilarQuestions:
    """Implements `ports.SimilarQuestions`; the first call with a model loads it."""

    def __init__(self, channel: grpc.aio.Channel, *, timeout_s: float) -> None:
        self._rag = SimilarTextServiceStub(channel)
        self._timeout_s = timeout_s

    async def nearest(
        self, caller: Caller, policy: SemanticCachePolicy, *, scope: str, text: str, limit: int
    ) -> Sequence[SimilarQuestion]:
        """See `SimilarQuestions.nearest`."""
        request = pb.FindSimilarTextsRequest(
            model=policy.embedding, scope=scope, text=text, min_score=policy.threshold, limit=limit
        )
        with acting_as(caller):
            reply = await self._rag.FindSimilarTexts(request, timeout=self._timeout_s)
        return [SimilarQuestion(inference=each.id, similarity=round(each.score, 6)) for each in reply.matches]

    async def put(  # noqa: PLR0913 - see there
        self,
        caller: Caller,
        policy: SemanticCachePolicy,
        *,
        scope: str,
        text: str,
        inference: str,
        end_user: str,
        expire_time: datetime,
    ) -> None:
        """See `SimilarQuestions.put`."""
        request = pb.PutSimilarTextRequest(
            model=policy.embedding, scope=scope, text=text, id=inference, end_user=end_user
        )
        request.expire_time.FromDatetime(expire_time)
        with acting_as(caller):
            await self._rag.PutSimilarText(request, timeout=self._timeout_s)

    async def remove(self, caller: Caller, inferences: Sequence[str]) -> None:
        """See `SimilarQuestions.remove`."""
        with acting_as(caller):
            await self._rag.RemoveSimilarTexts(pb.RemoveSimilarTextsRequest(ids=inferences), timeout=self._timeout_s)

    async def check(self, caller: Caller, policy: SemanticCachePolicy) -> None:
        """See `SimilarQuestions.check`."""
        try:
            await self.nearest(caller, policy, scope=_CHECK, text=_CHECK, limit=1)
        except (NotFound, InvalidInput) as error:
            field = "cache.semantic.embedding"
            raise InvalidInput.at(field, f"is {policy.embedding}: {error.message}") from error
