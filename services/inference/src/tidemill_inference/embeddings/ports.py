"""What embeds texts, and what callers ask for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tidemill_core.application import Caller

COLLECTION = "collection:"
"""Begins the name of a model that is a collection's."""
DEFAULT_MAX_TEXTS, TEXTS_BOUND = 2048, 65_536
"""Of one call, as of OpenAI's API, and what a setting may say at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """Vectors of length 1 in the order of their texts, `model@version` that embedded, and the tokens of all texts."""

    model: str
    vectors: Sequence[Sequence[float]]
    input_tokens: int


class Embedder(Protocol):
    """rag, which has the embedding models in memory."""

    async def embed(self, caller: Caller, *, model: str, collection: str, texts: Sequence[str]) -> Embedded:
        """Return the vectors of a few texts, by a model or by that of a collection.

        Raises:
            InvalidInput: a text is too long, or the model embeds nothing.
            NotFound: there is no such model or collection.
            DependencyUnavailable: rag does not answer.

        """
        ...


class Embedding(Protocol):
    """The use case `EmbedTexts`."""

    async def __call__(self, caller: Caller, *, model: str, texts: Sequence[str], dimensions: int = 0) -> Embedded:
        """See `EmbedTexts`."""
        ...
