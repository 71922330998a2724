"""What all embedding models do: texts become tokens, tokens passes of similar length, on the embedding threads."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from tidemill_rag.embedding.config import EmbeddingConfig
from tidemill_rag.embedding.domain import MIN_KNOWN
from tidemill_rag.embedding.ports import EmbeddedText, TokenMatch
from tidemill_rag.embedding.thread import EmbeddingThreads
from tidemill_rag.embedding.tokenizer import EmbeddingTokenizer
from tidemill_rag.errors import TextTooLong
from tidemill_rag.indexing.domain.chunking import Chunk, Cut
from tidemill_rag.indexing.domain.content import DocumentContent

Vectors = list[list[float]]

TOKENS_PER_BATCH = 1024
"""Tokens per forward pass, including padding; bounds how long a query waits. More are not faster."""
_REMEMBERED_QUESTIONS = 1024
_COMPARED_TOKENS = 512
"""Of a text at once with all of its reference, so that the cosines of two long texts need little memory."""


class BatchedEmbedding(ABC):
    """Implements `ports.EmbeddingModel`, but for a forward pass."""

    quantized: bool
    _max_tokens = TOKENS_PER_BATCH

    def __init__(
        self, threads: EmbeddingThreads, tokenizer: EmbeddingTokenizer, config: EmbeddingConfig, *, dimensions: int
    ) -> None:
        self._threads = threads
        self._config = config
        self._tokenizer = tokenizer
        self._asked: LRUCache[tuple[str, bool], list[float] | None] = LRUCache(_REMEMBERED_QUESTIONS)
        self.dimensions = dimensions
        self.special_tokens = tokenizer.facts.special_tokens
        self.max_tokens = config.max_tokens - tokenizer.facts.prompt_tokens

    @abstractmethod
    def _embed(self, batch: Sequence[Sequence[int]]) -> Vectors:
        """Return the vectors of texts, which are pooled as configured and have length 1; blocks."""

    @abstractmethod
    def _states(self, batch: Sequence[Sequence[int]]) -> Sequence[NDArray[np.float32]]:
        """Return the states of the last layer of each text's tokens, shape (tokens, dimensions); blocks."""

    async def cut(self, project: str, content: DocumentContent, cut: Cut) -> tuple[Sequence[Chunk], int]:
        """See `EmbeddingModel.cut`."""
        return await self._tokenizer.cut(project, content, cut)

    async def embed_passages(self, project: str, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """See `EmbeddingModel.embed_passages`."""
        return await self._embedded(project, await self._encoded(project, texts, limit=self._config.max_tokens))

    async def embed_whole(self, project: str, texts: Sequence[str]) -> Sequence[EmbeddedText]:
        """See `EmbeddingModel.embed_whole`."""
        limit = self._config.max_tokens
        encoded = await self._encoded(project, texts, limit=limit + 1)
        for number, tokens in enumerate(encoded):
            if len(tokens) > limit:
                raise TextTooLong(number, limit=limit)
        vectors = await self._embedded(project, encoded)
        return [
            EmbeddedText(vector=vector, tokens=len(tokens)) for vector, tokens in zip(vectors, encoded, strict=True)
        ]

    async def match_tokens(self, project: str, pairs: Sequence[tuple[str, str]]) -> Sequence[TokenMatch]:
        """See `EmbeddingModel.match_tokens`."""
        texts = [text for pair in pairs for text in pair]
        special, *encoded = await self._tokenizer.encode(project, ["", *texts], limit=self._config.max_tokens)
        both = [(encoded[place], encoded[place + 1]) for place in range(0, len(encoded), 2)]
        return await self._threads.run_all(project, [partial(self._match, each, frozenset(special)) for each in both])

    def _match(self, pair: tuple[Sequence[int], Sequence[int]], special: frozenset[int]) -> TokenMatch:
        found = dict[int, NDArray[np.float32]]()
        for batch in micro_batches(pair, max_tokens=self._max_tokens):
            for place, states in zip(batch, self._states([pair[place] for place in batch]), strict=True):
                found[place] = _of_words(states, pair[place], special)
        text, reference = found[0], found[1]
        if not (len(text) and len(reference)):
            return TokenMatch(precision=0.0, recall=0.0)
        of_text, of_reference = list[NDArray[np.float32]](), np.full(len(reference), -np.inf, dtype=np.float32)
        for start in range(0, len(text), _COMPARED_TOKENS):
            cosines = text[start : start + _COMPARED_TOKENS] @ reference.T
            of_text.append(cosines.max(axis=1))
            np.maximum(of_reference, cosines.max(axis=0), out=of_reference)
        return TokenMatch(precision=float(np.concatenate(of_text).mean()), recall=float(of_reference.mean()))

    async def _encoded(self, project: str, texts: Sequence[str], *, limit: int) -> Sequence[Sequence[int]]:
        prompted = [self._config.passage_prompt + text for text in texts]
        return await self._tokenizer.encode(project, prompted, limit=limit)

    async def _embedded(self, project: str, encoded: Sequence[Sequence[int]]) -> Vectors:
        batches = micro_batches(encoded, max_tokens=self._max_tokens)
        passes = [partial(self._embed, [encoded[position] for position in batch]) for batch in batches]
        vectors: Vectors = [[] for _ in encoded]
        for batch, embedded in zip(batches, await self._threads.run_all(project, passes), strict=True):
            for position, vector in zip(batch, embedded, strict=True):
                vectors[position] = vector
        return vectors

    async def embed_query(self, project: str, text: str) -> Sequence[float] | None:
        """See `EmbeddingModel.embed_query`. Recent queries are cached."""
        return await self._query_vector(project, text, whole=False)

    async def embed_whole_query(self, project: str, text: str) -> Sequence[float] | None:
        """See `EmbeddingModel.embed_whole_query`. Ditto."""
        return await self._query_vector(project, text, whole=True)

    async def _query_vector(self, project: str, text: str, *, whole: bool) -> Sequence[float] | None:
        asked = (text, whole)
        if asked in self._asked:
            return self._asked[asked]
        prompt, limit = self._config.query_prompt, self._config.max_tokens
        ids = await self._tokenizer.encode_question(
            project, text, prompt=prompt, limit=limit + whole, min_known=1.0 if whole else MIN_KNOWN
        )
        if ids is None or len(ids) > limit:
            vector = None
        else:
            vector = (await self._threads.run(project, lambda: self._embed([ids]), urgent=True))[0]
        self._asked[asked] = vector
        return vector


def _of_words(states: NDArray[np.float32], tokens: Sequence[int], special: frozenset[int]) -> NDArray[np.float32]:
    """Return the states of the tokens that are not special, of length 1."""
    kept = states[[token not in special for token in tokens]]
    lengths = np.linalg.norm(kept, axis=1, keepdims=True)
    found: NDArray[np.float32] = kept / np.maximum(lengths, np.finfo(np.float32).tiny)
    return found


def micro_batches(encoded: Sequence[Sequence[int]], *, max_tokens: int = TOKENS_PER_BATCH) -> list[list[int]]:
    """Group texts of similar length, to minimise padding."""
    batches: list[list[int]] = []
    for position in sorted(range(len(encoded)), key=lambda position: len(encoded[position])):
        if not batches or (len(batches[-1]) + 1) * len(encoded[position]) > max_tokens:
            batches.append([])
        batches[-1].append(position)
    return batches
