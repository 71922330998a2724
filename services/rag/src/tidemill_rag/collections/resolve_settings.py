"""Validate a collection's settings, and resolve the reference to the embedding model."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tidemill_core.application import Caller
from tidemill_core.errors import InvalidInput, Violation
from tidemill_core.resources import SLUG, label_violations, refuse, slug_violations
from tidemill_rag.collections.domain.collection import GoLive, Settings
from tidemill_rag.collections.domain.index_version import Chunking, Sparse
from tidemill_rag.collections.domain.search_settings import SearchSettings, search_violations
from tidemill_rag.embedding.domain import LANGUAGES, MAX_TOKENS, MIN_TOKENS
from tidemill_rag.embedding.ports import EmbeddingModels, Rerankers
from tidemill_rag.indexing.domain.chunking import STRUCTURE, WAYS

_REFERENCE = re.compile(rf"{SLUG.pattern}(@[1-9][0-9]{{0,8}})?")
MAX_SOURCES = 100
DEFAULT_MAX_TOKENS = 256
DEFAULT_OVERLAP_TOKENS = 32
DEFAULT_SPARSE = Sparse(by="bm25", languages=("en",))
"""Of new collections. Measured by `python -m tests.bench.retrieval`."""
_DEFAULT_SEARCH = SearchSettings()
MAX_LANGUAGES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkingSpec:
    """Chunking as a caller sends it; "", 0 and None mean the default."""

    by: str = ""
    max_tokens: int = 0
    overlap_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SparseSpec:
    """Sparse vectors as a caller sends them; `by` "" means the default, or what the collection has."""

    by: str = ""
    languages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionSpec:
    """Settings as a caller sends them."""

    id: str
    sources: tuple[str, ...]
    embedding: str
    chunking: ChunkingSpec = ChunkingSpec()
    sparse: SparseSpec = SparseSpec()
    search: SearchSettings = _DEFAULT_SEARCH
    go_live: GoLive | None = None
    """None means the default, or what the collection has."""
    labels: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolveSettings:
    """Resolves the model when the RPC is called, so that a wrong name fails there and not in the worker."""

    models: EmbeddingModels
    rerankers: Rerankers

    async def __call__(self, caller: Caller, spec: CollectionSpec, *, known: str = "") -> Settings:
        """Return the settings; `known` is the model version that the reference resolved to before, which is kept.

        Raises:
            InvalidInput: all violations at once.
            NotFound: there is no such model.

        """
        refuse(_violations(spec))
        model, chunking = await self.models.resolve(caller, known or spec.embedding), spec.chunking
        if chunking.max_tokens > model.max_tokens:
            text = f"is {chunking.max_tokens}; {model.reference} takes at most {model.max_tokens}"
            raise InvalidInput.at(field="chunking.max_tokens", text=text)
        maximum = chunking.max_tokens or min(DEFAULT_MAX_TOKENS, model.max_tokens)
        overlap = (
            min(DEFAULT_OVERLAP_TOKENS, maximum // 2) if chunking.overlap_tokens is None else chunking.overlap_tokens
        )
        if overlap > maximum // 2:
            text = f"is {overlap}; the limit is half of max_tokens, {maximum // 2}"
            raise InvalidInput.at(field="chunking.overlap_tokens", text=text)
        return Settings(
            sources=spec.sources,
            embedding=spec.embedding,
            resolved=model.reference,
            quantizes=model.quantizes,
            chunking=Chunking(by=chunking.by or STRUCTURE, max_tokens=maximum, overlap_tokens=overlap),
            sparse=Sparse(by=spec.sparse.by, languages=spec.sparse.languages) if spec.sparse.by else DEFAULT_SPARSE,
            search=await self._search(caller, spec.search),
            go_live=spec.go_live or GoLive.WHEN_COMPLETE,
            labels=spec.labels,
        )

    async def _search(self, caller: Caller, search: SearchSettings) -> SearchSettings:
        if search.rerank is None:
            return search
        await self.rerankers.check(caller, search.rerank.model)
        return replace(search, rerank=replace(search.rerank, candidates=search.rerank.reads))


def _violations(spec: CollectionSpec) -> Iterator[Violation]:
    chunking = spec.chunking
    yield from slug_violations("id", spec.id)
    yield from label_violations("labels", spec.labels)
    if not 1 <= len(spec.sources) <= MAX_SOURCES:
        yield Violation("sources", f"has {len(spec.sources)} entries; name 1 to {MAX_SOURCES}")
    if len(set(spec.sources)) != len(spec.sources):
        yield Violation("sources", "names a source twice")
    for source in spec.sources:
        if not SLUG.fullmatch(source):
            yield Violation("sources", f"{source[:80]!r} is not the id of a source")
    if not _REFERENCE.fullmatch(spec.embedding):
        yield Violation("embedding", f"is {spec.embedding[:80]!r}; write `model` or `model@version`, as in minilm@1")
    if chunking.by not in {"", *WAYS}:
        yield Violation("chunking.by", f"is {chunking.by[:80]!r}; use {', '.join(WAYS)}")
    if chunking.max_tokens and not MIN_TOKENS <= chunking.max_tokens <= MAX_TOKENS:
        text = f"is {chunking.max_tokens}; use {MIN_TOKENS} to {MAX_TOKENS}, or 0 for the default"
        yield Violation("chunking.max_tokens", text)
    if chunking.overlap_tokens is not None and chunking.overlap_tokens < 0:
        yield Violation("chunking.overlap_tokens", f"is {chunking.overlap_tokens}; use 0 or more")
    yield from _sparse_violations(spec.sparse)
    yield from search_violations(spec.search, field="search")


def _sparse_violations(sparse: SparseSpec) -> Iterator[Violation]:
    if sparse.by not in {"", "bm25", "none"}:
        yield Violation("sparse.by", f"is {sparse.by[:80]!r}; must be 'bm25' or 'none'")
    if sparse.languages and sparse.by != "bm25":
        yield Violation("sparse.languages", "needs by: bm25")
    if len(sparse.languages) > MAX_LANGUAGES or len(set(sparse.languages)) != len(sparse.languages):
        yield Violation(
            "sparse.languages", f"has {len(sparse.languages)} entries; name up to {MAX_LANGUAGES}, each once"
        )
    for language in sparse.languages:
        if language not in LANGUAGES:
            text = f"{language[:80]!r} has no stemmer: use {', '.join(LANGUAGES)}, or no language for words as they are"
            yield Violation("sparse.languages", text)
