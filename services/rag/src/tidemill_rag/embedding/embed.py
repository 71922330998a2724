"""Embed texts for callers, by a model of the registry or by that of a collection."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tidemill_core.application import Caller
from tidemill_core.errors import Violation
from tidemill_core.resources import refuse
from tidemill_rag.collections.domain.index_version import IndexVersion
from tidemill_rag.collections.ports import Collections, found
from tidemill_rag.embedding.ports import EmbeddedText, EmbeddingModels
from tidemill_rag.errors import IndexNotReady

MAX_TEXTS = 128


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
        if collection:
            index = await self._live_index(caller, collection)
            reference, quantized = index.embedding, index.quantized
        else:
            reference, quantized = (await self.models.resolve(caller, model)).reference, None
        loaded = await self.models.load(caller, reference, quantized=quantized)
        return reference, await loaded.embed_whole(caller.project, texts)

    async def _live_index(self, caller: Caller, name: str) -> IndexVersion:
        collection = await found(self.collections, caller.project, name)
        if collection.live is None:
            raise IndexNotReady(name, message=collection.indexes[-1].message)
        return collection.live


def _violations(model: str, collection: str, texts: Sequence[str]) -> Iterator[Violation]:
    if bool(model) == bool(collection):
        yield Violation("model", "name a model or a collection, and not both")
    if not 0 < len(texts) <= MAX_TEXTS:
        yield Violation("texts", f"has {len(texts)}; send 1 to {MAX_TEXTS}")
    for number, text in enumerate(texts):
        if not text.strip():
            yield Violation(f"texts[{number}]", "is empty")
            return
