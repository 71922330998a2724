"""Similarity search over the current passages of a collection."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from tidemill_core.application import Caller
from tidemill_core.characters import clean, ignorable
from tidemill_core.errors import Violation
from tidemill_core.resources import ResolveShared, nothing_shared, refuse
from tidemill_rag.collections.domain import (
    Collection,
    IndexRef,
    IndexVersion,
    SearchSettings,
    numbers,
    search_violations,
)
from tidemill_rag.collections.ports import Collections, found
from tidemill_rag.embedding.ports import EmbeddingModels, SparseEmbedding
from tidemill_rag.errors import CollectionNotFound, IndexNotFound, IndexNotReady
from tidemill_rag.indexing.domain.content import MetadataValue
from tidemill_rag.indexing.ports import Ledger
from tidemill_rag.vectors.ports import Match, Query, Range, VectorStore, Where

Sweep = Callable[[IndexRef, str, int], None]
"""Schedules the deletion of a document's passages below a `seq`."""

DEFAULT_TOP_K, MAX_TOP_K = 5, 100
_SPARE = 4
_SUBJECT = "tidemill-rag"
_MAX_CANDIDATES = 2000
_UNKNOWN = "not searched: the vocabulary of the embedding model {} lacks the query's script or words"

_NO_TERMS = "searched by vectors alone: index version {} has no sparse vectors; the next one of {} will have them"

_NOT_RELEVANT = "no passage is relevant: the best one has score {:.3f}, and min_score of {} is {:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A search request: `top_k` 0 is the default, `index` 0 the live index version."""

    collection: str
    query: str
    top_k: int = 0
    metadata_filter: Mapping[str, Sequence[MetadataValue]] = field(default_factory=dict)
    ranges: Mapping[str, Range] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    principals: tuple[str, ...] = ()
    index: int = 0
    settings: SearchSettings | None = None
    """In place of the collection's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The passages, best first, and the index version that was searched."""

    index: int
    passages: Sequence[Match]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Checks every candidate against the ledger.

    It over-fetches: candidates that are stale or left by a crash are dropped, scheduled for deletion, and replaced by
    further candidates.
    """

    collections: Collections
    ledger: Ledger
    vectors: VectorStore
    models: EmbeddingModels
    sparse: SparseEmbedding
    sweep: Sweep
    max_characters: int
    shared: ResolveShared = nothing_shared
    """Without it a project searches its own collections only."""

    async def __call__(self, caller: Caller, question: Question) -> Answer:
        """Return at most `top_k` passages. A query is truncated at the model's token limit.

        Of a collection of another project those are found that all in it may read: its readers are not the caller's.

        Raises:
            InvalidInput: the query is empty or too long, or `top_k` or a setting is out of range.
            CollectionNotFound: the caller's project has none with this id.
            IndexNotFound: the requested index version does not exist or is retired.
            IndexNotReady: the first index version has not listed its documents yet.

        """
        refuse(self._violations(question))
        collection = await self._collection(caller, question.collection)
        index = await self._index(collection, question.index)
        own = collection.project == caller.project
        owner = caller if own else Caller(project=collection.project, subject=_SUBJECT)
        model = await self.models.load(owner, index.embedding)
        text = clean(question.query)
        vector = await model.embed_query(caller.project, text)
        if vector is None:
            return Answer(
                index=index.number,
                passages=(),
                warnings=(_UNKNOWN.format(index.embedding if own else f"of {question.collection}"),),
            )
        principals = question.principals if own else ()
        where = Where(
            metadata=question.metadata_filter, ranges=question.ranges, sources=question.sources, principals=principals
        )
        settings = question.settings or collection.search
        query = await self._query(settings, index, text, vector)
        passages = await self._current(collection, index, query, where, question.top_k or DEFAULT_TOP_K)
        least = settings.min_score
        kept = [match for match in passages if not least or match.score >= least]
        warnings = []
        if collection.sparse.used and not index.sparse.used:
            warnings.append(_NO_TERMS.format(index.number, question.collection))
        if passages and not kept:
            best = max(match.score for match in passages)
            warnings.append(_NOT_RELEVANT.format(best, question.collection, least))
        return Answer(index=index.number, passages=kept, warnings=tuple(warnings))

    async def _query(self, settings: SearchSettings, index: IndexVersion, text: str, vector: Sequence[float]) -> Query:
        if not index.sparse.used or not settings.sparse_weight:
            return Query(vector=vector)
        return Query(
            vector=vector,
            sparse=await self.sparse.embed_query(text, languages=index.sparse.languages),
            dense_weight=settings.dense_weight,
            sparse_weight=settings.sparse_weight,
        )

    async def _collection(self, caller: Caller, name: str) -> Collection:
        place = self.shared(caller.project, name)
        if place is not None and place != (caller.project, name):
            with suppress(CollectionNotFound):  # of another project it is not said what else there is
                return await self.collections.get(*place)
        return await found(self.collections, caller.project, name)

    async def _current(
        self, collection: Collection, index: IndexVersion, query: Query, where: Where, top_k: int
    ) -> Sequence[Match]:
        ref, limit = collection.ref(index.number), 2 * top_k + _SPARE
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
            different = _different(current)
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

    def _violations(self, question: Question) -> Iterator[Violation]:
        if not "".join(each for each in question.query if not ignorable(each)).strip():
            yield Violation("query", "is empty")
        if len(question.query) > self.max_characters:
            yield Violation("query", f"has {len(question.query)} characters; the limit is {self.max_characters}")
        if not 0 <= question.top_k <= MAX_TOP_K:
            text = f"is {question.top_k}; use 1 to {MAX_TOP_K}, or 0 for the default, {DEFAULT_TOP_K}"
            yield Violation("top_k", text)
        if question.index < 0:
            yield Violation("index", f"is {question.index}; use the number of an index version, or 0 for the live one")
        if question.settings:
            yield from search_violations(question.settings, field="settings")


def _different(matches: Sequence[Match]) -> list[Match]:
    """Merge matches with the same text into the best one, which lists the other documents in `also_in`."""
    by_text: dict[str, Match] = {}
    for match in matches:
        text, payload = " ".join(match.payload.text.split()), match.payload
        first = by_text.setdefault(text, match)
        name = f"{payload.source}/{payload.key}"
        if payload.document != first.payload.document and name not in first.also_in:
            by_text[text] = replace(first, also_in=(*first.also_in, name))
    return list(by_text.values())
