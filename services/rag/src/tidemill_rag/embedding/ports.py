"""Ports to embedding models."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tidemill_core.application import Caller
from tidemill_rag.embedding.domain import SparseVector
from tidemill_rag.indexing.domain.chunking import Chunk, Cut
from tidemill_rag.indexing.domain.content import DocumentContent


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedModel:
    """The model version that a reference resolves to."""

    reference: str
    """`model@version`."""
    max_tokens: int
    """The token limit of the model, including special tokens."""
    quantizes: bool = True
    """Whether indexes that begin are to have its form of 8 bits, where there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedText:
    """The vector of a text, and its tokens with special ones."""

    vector: Sequence[float]
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenMatch:
    """How near the tokens of a text and a reference are: each to its nearest of the other; -1 to 1."""

    precision: float
    """The mean over the tokens of the text."""
    recall: float
    """The mean over the tokens of the reference."""


class EmbeddingModel(Protocol):
    """A loaded model; vectors have length 1."""

    dimensions: int
    max_tokens: int
    special_tokens: int
    quantized: bool
    """Whether its weights have 8 bits."""

    async def cut(self, project: str, content: DocumentContent, cut: Cut) -> tuple[Sequence[Chunk], int]:
        """Return a document's passages, and the number of passages omitted because the vocabulary does not cover them.

        Raises:
            InvalidInput: the tokenizer fails on the text, or exceeds its limits.
            DependencyUnavailable: the tokenizer processes are overloaded.

        """
        ...

    async def embed_passages(self, project: str, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Return one vector per text, truncated at the model's token limit; raises as `cut`."""
        ...

    async def embed_whole(self, project: str, texts: Sequence[str]) -> Sequence[EmbeddedText]:
        """Return the vectors of texts as passages, with their tokens; nothing is truncated.

        Raises:
            TextTooLong: names the first text beyond the model's token limit.
            InvalidInput, DependencyUnavailable: as `cut`.

        """
        ...

    async def match_tokens(self, project: str, pairs: Sequence[tuple[str, str]]) -> Sequence[TokenMatch]:
        """Return how near the tokens of each text and reference are, by the states of the last layer.

        After Zhang et al., BERTScore: Evaluating Text Generation with BERT (2020): greedy matching by cosine, without
        special tokens and weights of words. Texts are truncated at the model's token limit; raises as `cut`.
        """
        ...

    async def embed_query(self, project: str, text: str) -> Sequence[float] | None:
        """Return the vector of a query, truncated at the model's token limit; raises as `cut`.

        Queries go before passages. None if the vocabulary covers less than `MIN_KNOWN` of the query, whose vector would
        match anything.
        """
        ...

    async def embed_whole_query(self, project: str, text: str) -> Sequence[float] | None:
        """Return the vector of a query that stands for all of it; raises as `cut`.

        None if it has more tokens than the model takes, or any word that the vocabulary lacks: two different texts
        would have one vector.
        """
        ...


class SparseEmbedding(Protocol):
    """Embeds texts by their terms."""

    async def embed_passages(
        self, texts: Sequence[tuple[str, str]], *, languages: Sequence[str]
    ) -> Sequence[SparseVector]:
        """Return one vector for each (language, text).

        A text is analysed in its language if that is among `languages`, else in the first of these; without languages
        words stay as they are.
        """
        ...

    async def embed_query(self, text: str, *, languages: Sequence[str]) -> SparseVector:
        """Return the terms of a query, in the analysis of each language."""
        ...


class Reranker(Protocol):
    """A loaded cross-encoder, which reads a question and a text together."""

    async def scores(self, project: str, question: str, texts: Sequence[str]) -> Sequence[float]:
        """Return how well each text answers the question, 0 to 1; what is too long is truncated.

        Raises:
            InvalidInput: the tokenizer fails on a text, or exceeds its limits.
            DependencyUnavailable: the tokenizer processes are overloaded.

        """
        ...


class Rerankers(Protocol):
    """Cross-encoders from the trainer's registry."""

    async def check(self, caller: Caller, reference: str) -> None:
        """Refuse a `model@version` that cannot rerank.

        Raises:
            NotFound: the project has no such model.
            RerankerUnusable: it is no sequence classification with one label, or rag cannot load it.
            DependencyUnavailable: the trainer does not respond.

        """
        ...

    async def load(self, caller: Caller, reference: str) -> Reranker:
        """Return the loaded model; raises as `check`. Loading goes on without its caller, for the next one."""
        ...


class EmbeddingModels(Protocol):
    """Embedding models from the trainer's registry."""

    async def resolve(self, caller: Caller, reference: str) -> ResolvedModel:
        """Resolve `model` or `model@version`.

        Raises:
            NotFound: the project has no such model.
            EmbeddingUnusable: the model is not an embedding model that rag can load.
            DependencyUnavailable: the trainer does not respond.

        """
        ...

    async def load(self, caller: Caller, resolved: str, *, quantized: bool | None = None) -> EmbeddingModel:
        """Return the loaded model, with weights of 8 bits or without; None takes what new indexes are made with.

        Models with equal content are loaded once in each form.

        Raises:
            DependencyUnavailable: it cannot be had in this form here, or not now.
        """
        ...
