"""Embed texts for callers, by a model of the registry or by that of a collection."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tidemill_core.application import Caller
from tidemill_core.errors import Violation
from tidemill_core.resources import refuse
from tidemill_rag.collections.domain.index_version import IndexVersion
from tidemill_rag.collections.ports import Collections, found
from tidemill_rag.embedding.ports import EmbeddedText, EmbeddingModel, EmbeddingModels, TokenMatch
from tidemill_rag.errors import IndexNotReady

MAX_TEXTS, MAX_PAIRS = 128, 64


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedTexts:
    """Embeds as passages are embedded, so that what callers compare lies in the space of the collection."""

    collections: Collections
    models: EmbeddingModels

    async def __call__(
        self, caller: Caller, *, model: str, collection: str, texts: Sequence[str]
    ) -> tuple[str, Sequence[EmbeddedText]]:
        """Return `model@version` that embedded, and what came of each text.

        Raises:
            InvalidInput: neither or both of model and collection are named, or a text cannot be embedded.
            NotFound: the project has no such model or collection.
            IndexNotReady: the collection's first index is being built.
            EmbeddingUnusable: the model is no embedding model that rag can load.

        """
        refuse(_violations(model, collection, texts))
        reference, loaded = await self._loaded(caller, model=model, collection=collection)
        return reference, await loaded.embed_whole(caller.project, texts)

    async def match_tokens(
        self, caller: Caller, *, model: str, collection: str, pairs: Sequence[tuple[str, str]]
    ) -> tuple[str, Sequence[TokenMatch]]:
        """Return `model@version` that embedded, and how near the tokens of each text and its reference are.

        Raises:
            InvalidInput, NotFound, IndexNotReady, EmbeddingUnusable: as for vectors.

        """
        refuse(_pair_violations(model, collection, pairs))
        reference, loaded = await self._loaded(caller, model=model, collection=collection)
        return reference, await loaded.match_tokens(caller.project, pairs)

    async def _loaded(self, caller: Caller, *, model: str, collection: str) -> tuple[str, EmbeddingModel]:
        if collection:
            index = await self._live_index(caller, collection)
            reference, quantized = index.embedding, index.quantized
        else:
            reference, quantized = (await self.models.resolve(caller, model)).reference, None
        return reference, await self.models.load(caller, reference, quantized=quantized)

    async def _live_index(self, caller: Caller, name: str) -> IndexVersion:
        collection = await found(self.collections, caller.project, name)
        if collection.live is None:
            raise IndexNotReady(name, message=collection.indexes[-1].message)
        return collection.live


def _pair_violations(model: str, collection: str, pairs: Sequence[tuple[str, str]]) -> Iterator[Violation]:
    yield from _source_violations(model, collection)
    if not 0 < len(pairs) <= MAX_PAIRS:
        yield Violation("pairs", f"has {len(pairs)}; send 1 to {MAX_PAIRS}")
    for number, pair in enumerate(pairs):
        if not all(map(str.strip, pair)):
            yield Violation(f"pairs[{number}]", "has an empty text")
            return


def _source_violations(model: str, collection: str) -> Iterator[Violation]:
    if bool(model) == bool(collection):
        yield Violation("model", "name a model or a collection, and not both")


def _violations(model: str, collection: str, texts: Sequence[str]) -> Iterator[Violation]:
    yield from _source_violations(model, collection)
    if not 0 < len(texts) <= MAX_TEXTS:
        yield Violation("texts", f"has {len(texts)}; send 1 to {MAX_TEXTS}")
    for number, text in enumerate(texts):
        if not text.strip():
            yield Violation(f"texts[{number}]", "is empty")
            return
