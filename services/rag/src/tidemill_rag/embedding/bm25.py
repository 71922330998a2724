"""Sparse vectors of BM25: Qdrant's own, computed here, so that both vector stores find the same."""

import asyncio
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Final

from qdrant_edge import (
    Bm25,
    Bm25Config,
    DisabledStemmer,
    Language,
    SnowballLanguage,
    SnowballParams,
    StopwordsSet,
    TokenizerType,
)

from tidemill_rag.embedding.domain import LANGUAGES, SparseVector

TYPICAL_TERMS: Final = 60.0
"""Terms of a typical passage without stop words: BM25's average length, which a store that changes cannot know."""


class Bm25Embedding:
    """Implements `ports.SparseEmbedding` (Robertson and Zaragoza, 2009; k 1.2, b 0.75). IDF is added by the store."""

    async def embed_passages(
        self, texts: Sequence[tuple[str, str]], *, languages: Sequence[str]
    ) -> Sequence[SparseVector]:
        """See `SparseEmbedding.embed_passages`. A passage takes 0.1 ms, in a thread."""
        return await asyncio.to_thread(_passages, list(texts), tuple(languages))

    async def embed_query(self, text: str, *, languages: Sequence[str]) -> SparseVector:
        """See `SparseEmbedding.embed_query`."""
        return await asyncio.to_thread(_query, text, tuple(languages))


def _passages(texts: Sequence[tuple[str, str]], languages: tuple[str, ...]) -> Sequence[SparseVector]:
    embedded = []
    for language, text in texts:
        own = language.partition("-")[0].lower()
        model = _model(own if own in languages else next(iter(languages), ""))
        vector = model.embed_document(text)
        embedded.append(_merged(zip(vector.indices, vector.values, strict=True)))
    return embedded


def _query(text: str, languages: tuple[str, ...]) -> SparseVector:
    found = (_model(language).embed_query(text) for language in languages or ("",))
    return _merged((index, 1.0) for vector in found for index in vector.indices)


def _merged(terms: Iterable[tuple[int, float]]) -> SparseVector:
    by_index = dict(terms)
    return SparseVector(indices=tuple(by_index), values=tuple(by_index.values()))


@cache
def _model(language: str) -> Bm25:
    """Return the analysis of a language; "" leaves words as they are."""
    name = LANGUAGES.get(language)
    return Bm25(
        Bm25Config(
            avg_len=TYPICAL_TERMS,
            tokenizer=TokenizerType.Word,
            ascii_folding=True,
            stopwords=getattr(Language, name) if name else StopwordsSet(),
            stemmer=SnowballParams(getattr(SnowballLanguage, name)) if name else DisabledStemmer(),
        )
    )
