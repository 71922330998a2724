"""rag's similar texts in memory, for tests of what calls it: texts are alike by the words that they share.

`services/rag/tests/similarity/test_edges.py` holds it to the real one.
"""

from dataclasses import dataclass

from tidemill.rag.v1 import similar_text_service_pb2 as pb
from tidemill.rag.v1.similar_text_service_pb2_grpc import SimilarTextServiceServicer
from tidemill_core.errors import InvalidInput, NotFound, Violation
from tidemill_testkit.stubs.calls import Context, errors_of, project_of


@dataclass(frozen=True, slots=True)
class _Vector:
    project: str
    model: str
    scope: str
    text: str
    end_user: str


class StubSimilarTexts(SimilarTextServiceServicer):
    """Has the models that it was given. Nothing expires. Runs in any grpc.aio server."""

    def __init__(self, *models: str) -> None:
        self._models = models
        self.kept: dict[tuple[str, str], _Vector] = {}
        """By project and id."""

    async def FindSimilarTexts(
        self, request: pb.FindSimilarTextsRequest, context: Context
    ) -> pb.FindSimilarTextsResponse:
        """Return those of the scope that share enough words."""
        async with errors_of(context):
            self._check(request.model, request.scope)
        place = (project_of(context), request.model, request.scope)
        found = [
            pb.SimilarText(id=text_id, score=_overlap(each.text, request.text))
            for (_, text_id), each in self.kept.items()
            if (each.project, each.model, each.scope) == place
        ]
        alike = sorted((each for each in found if each.score >= request.min_score), key=lambda each: -each.score)
        return pb.FindSimilarTextsResponse(matches=alike[: request.limit or 1])

    async def PutSimilarText(self, request: pb.PutSimilarTextRequest, context: Context) -> pb.PutSimilarTextResponse:
        """Keep one."""
        async with errors_of(context):
            self._check(request.model, request.scope)
        project = project_of(context)
        kept = _Vector(project, request.model, request.scope, request.text, request.end_user)
        self.kept[project, request.id] = kept
        return pb.PutSimilarTextResponse(kept=True, expire_time=request.expire_time)

    async def RemoveSimilarTexts(
        self, request: pb.RemoveSimilarTextsRequest, context: Context
    ) -> pb.RemoveSimilarTextsResponse:
        """Remove some."""
        for each in request.ids:
            self.kept.pop((project_of(context), each), None)
        return pb.RemoveSimilarTextsResponse()

    def _check(self, model: str, scope: str) -> None:
        if not scope:
            raise InvalidInput.of(Violation("scope", "has 0 characters; use 1 to 200"))
        if model not in self._models:
            message = f"there is no model {model} in this project"
            raise NotFound(message)


def _overlap(a: str, b: str) -> float:
    one, other = set(a.lower().split()), set(b.lower().split())
    return len(one & other) / len(one | other)
