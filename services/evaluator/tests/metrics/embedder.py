"""Embeddings by words, in memory and as rag's service: texts are near where they have words in common."""

import asyncio
import math
from collections import Counter
from collections.abc import Sequence

from tidemill.rag.v1 import text_embedding_service_pb2 as pb
from tidemill.rag.v1.text_embedding_service_pb2_grpc import TextEmbeddingServiceServicer
from tidemill_core.application import Caller
from tidemill_core.errors import InvalidInput, NotFound, TidemillError, Violation
from tidemill_core.words import words_of
from tidemill_evaluator.metrics.ports import MAX_TEXTS, TextRefused, TokenMatch
from tidemill_testkit.stubs.calls import Context, errors_of, with_reason

_DIMENSIONS = 256
MAX_WORDS = 8
VERSIONS = {"minilm": "minilm@2", "minilm@2": "minilm@2", "e5": "e5@1", "collection:handbook": "minilm@2"}


class WordVectors:
    """Vectors of word counts, of length 1."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}

    def of(self, text: str) -> list[float]:
        """Return the vector of a text; that of one without words points away from all others."""
        vector = [0.0] * _DIMENSIONS
        for word, count in Counter(words_of(text)).items():
            vector[self._places.setdefault(word, len(self._places) % _DIMENSIONS)] += count
        length = math.hypot(*vector)
        return [each / length for each in vector] if length else [-1 / math.sqrt(_DIMENSIONS)] * _DIMENSIONS


class InMemoryEmbedder:
    """Implements `ports.Embedder`."""

    def __init__(self) -> None:
        self.words = WordVectors()
        self.versions = dict(VERSIONS)
        self.calls: list[Sequence[str]] = []
        """The texts of each call that was answered."""
        self.fails: list[TidemillError] = []
        """One for each call."""
        self.unusable: set[str] = set()
        self.matched: list[tuple[str, str]] = []
        self.going_on: asyncio.Event | None = None
        """What calls wait for."""
        self.called = asyncio.Event()

    async def version(self, caller: Caller, model: str) -> str:
        assert caller.project
        if self.fails:
            raise self.fails.pop(0)
        if model not in self.versions:
            message = f"{model} does not exist"
            raise NotFound(message)
        return self.versions[model]

    async def match(self, caller: Caller, version: str, pairs: Sequence[tuple[str, str]]) -> Sequence[TokenMatch]:
        """See `TokenMatcher.match`: equal words are near, others are not at all."""
        assert caller.project
        if self.fails:
            raise self.fails.pop(0)
        if version not in self.versions.values():
            message = f"{version} does not exist"
            raise NotFound(message)
        self.matched += pairs
        return [matched(*pair) for pair in pairs]

    async def embed(self, caller: Caller, version: str, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        assert caller.project
        assert 0 < len(texts) <= MAX_TEXTS
        assert all(map(str.strip, texts))
        self.called.set()
        await (self.going_on.wait() if self.going_on else asyncio.sleep(0))
        if self.fails:
            raise self.fails.pop(0)
        if version not in self.versions.values():
            message = f"{version} does not exist"
            raise NotFound(message)
        for number, text in enumerate(texts):
            too_long = len(words_of(text)) > MAX_WORDS
            if too_long or text in self.unusable:
                raise TextRefused(number, too_long=too_long)
        self.calls.append(texts)
        return [self.words.of(text) for text in texts]


def matched(text: str, reference: str) -> TokenMatch:
    """Return the shares of words that the other text has."""
    one, other = words_of(text), words_of(reference)
    shares = (sum(word in there for word in here) / len(here) for here, there in ((one, other), (other, one)))
    precision, recall = shares
    return TokenMatch(precision=precision, recall=recall)


class StubTextEmbeddings(TextEmbeddingServiceServicer):
    """Embeds by the model `minilm@2`, or that of any collection. Runs in any grpc.aio server."""

    def __init__(self) -> None:
        self.words = WordVectors()
        self.asked: list[pb.EmbedRequest] = []

    async def Embed(self, request: pb.EmbedRequest, context: Context) -> pb.EmbedResponse:  # noqa: N802 - the RPC's
        """Return the vectors of texts."""
        async with errors_of(context):
            self.asked.append(request)
            if not request.collection and not request.model.startswith("minilm"):
                message = f"{request.model} does not exist"
                raise NotFound(message)
            for number, text in enumerate(request.texts):
                if len(words_of(text)) > MAX_WORDS:
                    refused = InvalidInput.of(Violation(f"texts[{number}]", f"has more than {MAX_WORDS} words"))
                    raise with_reason(refused, reason="TEXT_TOO_LONG")
        vectors = [pb.Embedding(values=self.words.of(text)) for text in request.texts]
        return pb.EmbedResponse(model="minilm@2", embeddings=vectors)

    async def CompareTokens(  # noqa: N802 - the RPC's
        self, request: pb.CompareTokensRequest, context: Context
    ) -> pb.CompareTokensResponse:
        """Return how near the words of texts and references are."""
        async with errors_of(context):
            if not request.model.startswith("minilm"):
                message = f"{request.model} does not exist"
                raise NotFound(message)
        found = [matched(each.text, each.reference) for each in request.pairs]
        return pb.CompareTokensResponse(
            model="minilm@2", matches=[pb.TokenMatch(precision=each.precision, recall=each.recall) for each in found]
        )
