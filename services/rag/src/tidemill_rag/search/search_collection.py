"""Search of one collection: its current passages, ranked as its settings say."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from tidemill_core.application import Caller
from tidemill_core.resources import ResolveShared, nothing_shared
from tidemill_rag.collections.domain.collection import Collection, IndexRef
from tidemill_rag.collections.domain.index_version import IndexVersion, numbers
from tidemill_rag.collections.domain.search_settings import SearchSettings
from tidemill_rag.collections.ports import Collections, found
from tidemill_rag.embedding.ports import EmbeddingModels, SparseEmbedding
from tidemill_rag.errors import CollectionNotFound, IndexNotFound, IndexNotReady
from tidemill_rag.indexing.ports import Ledger
from tidemill_rag.search.diversity import CANDIDATES, diverse
from tidemill_rag.search.fusion import merged
from tidemill_rag.search.identifiers import is_one_missing
from tidemill_rag.search.neighbours import Neighbours
from tidemill_rag.search.question import MAX_TOP_K, Question, Sweep
from tidemill_rag.search.rerank import RerankMatches
from tidemill_rag.vectors.ports import Match, Query, VectorStore, Where

_SPARE = 4
_READ = 10
"""Passages of which the best one says whether a question is answered: so many, whatever `top_k` is."""
_SUBJECT = "tidemill-rag"
_MAX_CANDIDATES = 2000
_UNKNOWN = "not searched: the vocabulary of the embedding model {} lacks the query's script or words"
_NO_WORDS = "no passage was found: the question has no terms but stop words, and dense_weight of {} is 0"
_NO_ORDER = "passages are without their neighbours: index version {} of {} predates them; RebuildIndex adds them"
_NO_TERMS = "searched by vectors alone: index version {} has no sparse vectors; the next one of {} will have them"
_UNANSWERED = "no passage answers the question: the best one has {:.3f}, and answerable_above of {} is {:g}"
_NOT_NAMED = (
    "no passage answers the question: it names an identifier that none of the best {} passages has, and {} has "
    "identifiers_required"
)
_NOT_RELEVANT = "no passage is relevant: the best one has score {:.3f}, and min_score of {} is {:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """The passages of one collection, best first."""

    collection: str
    """As it was named."""
    index: int
    """The index version that was searched."""
    measure: tuple[str, ...]
    """What `Match.relevance` is by: comparable with that of rankings with the same measure."""
    passages: Sequence[Match]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Searched:
    """The collection as it was found; `own` is False for one that another project shares."""

    name: str
    collection: Collection
    index: IndexVersion
    own: bool
    asked: SearchSettings | None
    """In place of the collection's."""

    @property
    def settings(self) -> SearchSettings:
        return self.asked or self.collection.ranking(self.index)

    @property
    def ref(self) -> IndexRef:
        return self.collection.ref(self.index.number)

    def owner(self, caller: Caller) -> Caller:
        return caller if self.own else Caller(project=self.collection.project, subject=_SUBJECT)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchCollection:
    """Checks every candidate against the ledger.

    It over-fetches: candidates that are stale or left by a crash are dropped, scheduled for deletion, and replaced by
    further candidates.
    """

    collections: Collections
    ledger: Ledger
    vectors: VectorStore
    neighbours: Neighbours
    rerank: RerankMatches
    models: EmbeddingModels
    sparse: SparseEmbedding
    sweep: Sweep
    shared: ResolveShared = nothing_shared
    """Without it a project searches its own collections only."""

    async def __call__(self, caller: Caller, question: Question, name: str, *, index: int = 0) -> Ranking:
        """Return at most `top_k` passages of a collection; `index` 0 is the live index version.

        Raises:
            CollectionNotFound: the caller's project has none with this id.
            IndexNotFound: the requested index version does not exist or is retired.
            IndexNotReady: the first index version has not listed its documents yet.

        """
        collection = await self._collection(caller, name)
        searched = _Searched(
            name=name,
            collection=collection,
            index=await self._index(collection, index),
            own=collection.project == caller.project,
            asked=question.settings,
        )
        owner, embedding = searched.owner(caller), searched.index.embedding
        model = await self.models.load(owner, embedding, quantized=searched.index.quantized)
        vector = await model.embed_query(caller.project, question.query)
        if vector is None:
            unknown = _UNKNOWN.format(embedding if searched.own else f"of {name}")
            return _ranking(searched, (), [unknown])
        query = await self._query(searched, question.query, vector)
        passages, warnings = await self._ranked(caller, searched, question, query)
        return _ranking(searched, passages, [*_lacking(searched, query), *warnings])

    async def _ranked(
        self, caller: Caller, searched: _Searched, question: Question, query: Query
    ) -> tuple[Sequence[Match], list[str]]:
        settings, warnings = searched.settings, list[str]()
        where = Where(
            metadata=question.metadata_filter,
            ranges=question.ranges,
            sources=question.sources,
            principals=question.principals if searched.own else (),
        )
        candidates = await self._current(searched.ref, query, where, _depth(settings, question.top_k))
        least = settings.min_score
        passages: Sequence[Match] = [match for match in candidates if not least or match.score >= least]
        if candidates and not passages:
            best = max(match.score for match in candidates)
            warnings.append(_NOT_RELEVANT.format(best, searched.name, least))
        if settings.rerank is not None:
            owner = caller if searched.asked else searched.owner(caller)
            passages, why_not = await self.rerank(caller, owner, settings.rerank, question.query, passages)
            warnings += [f"{why_not} ({searched.name})"] if why_not else []
        if refused := _refused(searched, passages) or _unnamed(searched, question.query, passages):
            return (), [*warnings, refused]
        passages = diverse(passages, diversity=settings.diversity, count=question.top_k)
        if settings.neighbours:
            passages = await self.neighbours(searched.ref, passages, count=settings.neighbours)
            if any(match.payload.ordinal < 0 for match in passages):
                warnings.append(_NO_ORDER.format(searched.index.number, searched.name))
        return passages, warnings

    async def _query(self, searched: _Searched, text: str, vector: Sequence[float]) -> Query:
        settings, sparse = searched.settings, searched.index.sparse
        query = Query(vector=vector, with_vectors=settings.diversity > 0)
        if not sparse.used or not settings.sparse_weight:
            return query
        return replace(
            query,
            sparse=await self.sparse.embed_query(text, languages=sparse.languages),
            dense_weight=settings.dense_weight,
            sparse_weight=settings.sparse_weight,
        )

    async def _collection(self, caller: Caller, name: str) -> Collection:
        place = self.shared(caller.project, name)
        if place is not None and place != (caller.project, name):
            with suppress(CollectionNotFound):  # of another project it is not said what else there is
                return await self.collections.get(*place)
        return await found(self.collections, caller.project, name)

    async def _current(self, ref: IndexRef, query: Query, where: Where, top_k: int) -> Sequence[Match]:
        limit = 2 * top_k + _SPARE
        asked: set[str] = set()
        while True:
            candidates = await self.vectors.search(ref.key, query, limit=limit, where=where)
            rows = await self.ledger.rows(ref, list({match.payload.document for match in candidates}))
            current = list[Match]()
            for match in candidates:
                row = rows.get(match.payload.document)
                if row and row.shows(match.payload.seq):
                    current.append(match)
                elif row and match.payload.seq < row.stale_below and match.payload.document not in asked:
                    asked.add(match.payload.document)
                    self.sweep(ref, match.payload.document, row.stale_below)
            different = merged(current)
            if len(different) >= top_k or len(candidates) < limit or limit >= _MAX_CANDIDATES:
                return different[:top_k]
            limit = min(4 * limit, _MAX_CANDIDATES)

    async def _index(self, collection: Collection, pinned: int) -> IndexVersion:
        if pinned:
            index = collection.index(pinned)
            if index is None or not index.receives_updates:
                raise IndexNotFound(collection.id, pinned, existing=numbers(collection.indexes))
            return index
        if collection.live:
            return collection.live
        building = collection.indexes[-1]
        ref = collection.ref(building.number)
        counts = (await self.ledger.counts([ref]))[ref]
        raise IndexNotReady(collection.id, indexed=counts.indexed, desired=counts.desired, message=building.message)


def _ranking(searched: _Searched, passages: Sequence[Match], warnings: Sequence[str]) -> Ranking:
    project, model = searched.collection.project, searched.index.embedding
    reranked = searched.settings.rerank
    if reranked is not None and passages and all(match.rerank_score is not None for match in passages):
        model = reranked.model
    return Ranking(
        collection=searched.name,
        index=searched.index.number,
        measure=(project, model),
        passages=passages if searched.own else [replace(match, collection=searched.name) for match in passages],
        warnings=tuple(warnings),
    )


def _refused(searched: _Searched, passages: Sequence[Match]) -> str:
    """Return why no passage answers the question, "" where one may.

    With a reranker only what it read counts, and without its scores nothing is refused: cosines are of another scale.
    """
    settings = searched.settings
    read = [match for match in passages[:_READ] if settings.rerank is None or match.rerank_score is not None]
    if not settings.answerable_above or not read:
        return ""
    best = max(match.relevance for match in read)
    if best >= settings.answerable_above:
        return ""
    return _UNANSWERED.format(best, searched.name, settings.answerable_above)


def _unnamed(searched: _Searched, question: str, passages: Sequence[Match]) -> str:
    """Return that no passage has an identifier of the question, "" where each is in one."""
    if not searched.settings.identifiers_required or not passages:
        return ""
    read = passages[:_READ]
    payloads = [match.payload for match in read]
    texts = [text for each in payloads for text in (each.title, each.key, each.text)]
    texts += [text for match in read for text in (*match.also_in, *match.also_titled)]
    return _NOT_NAMED.format(len(read), searched.name) if is_one_missing(question, texts) else ""


def _lacking(searched: _Searched, query: Query) -> list[str]:
    """Return what to warn of: terms that the index, or the question, lacks."""
    index, warnings = searched.index, list[str]()
    if searched.collection.sparse.used and not index.sparse.used:
        warnings.append(_NO_TERMS.format(index.number, searched.name))
    if query.matches_nothing:
        warnings.append(_NO_WORDS.format(searched.name))
    return warnings


def _depth(settings: SearchSettings, top_k: int) -> int:
    """Return how many passages are ranked for so many that are returned."""
    diverse_of = min(CANDIDATES * top_k, MAX_TOP_K) if settings.diversity else 0
    read = _READ if settings.answerable_above or settings.identifiers_required else 0
    return max(top_k, diverse_of, settings.rerank.reads if settings.rerank else 0, read)
