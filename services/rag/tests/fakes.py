"""Stores, ingest and an embedding model that live in memory, and a rag put together on them."""

import hashlib
import math
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from tidemill_kit.core.aggregate import ObjectRef
from tidemill_kit.core.application import Caller, Request
from tidemill_kit.core.errors import DependencyUnavailable, InvalidInput, NotFound
from tidemill_rag.adapters.mongo_collections import CollectionCodec
from tidemill_rag.application.compare_points import ComparePoints
from tidemill_rag.application.create_collection import CreateCollection
from tidemill_rag.application.delete_collection import DeleteCollection
from tidemill_rag.application.index_documents import BatchLimits, IndexDocuments
from tidemill_rag.application.ports import CatalogPage, DocumentContent, ResolvedModel
from tidemill_rag.application.read_collections import ReadCollections
from tidemill_rag.application.rebuild_index import RebuildIndex
from tidemill_rag.application.reconcile_index import ReconcileIndex, Requeue
from tidemill_rag.application.record_document import RecordDocument
from tidemill_rag.application.resolve_settings import CollectionSpec, ResolveSettings
from tidemill_rag.application.search import Answer, Question, Search
from tidemill_rag.application.update_collection import UpdateCollection
from tidemill_rag.application.vector_store import Match, Point, Where
from tidemill_rag.domain.chunking import Chunk, Cut, known_chunks
from tidemill_rag.domain.collection import Collection, IndexRef
from tidemill_rag.domain.embedding import MIN_KNOWN
from tidemill_rag.domain.errors import CollectionNotFound, EmbeddingUnusable
from tidemill_rag.domain.ledger import Counts, DesiredDocument, Row
from tidemill_testkit.clocks import FixedClock
from tidemill_testkit.stores import InMemoryAggregates

ADA = Caller(project="acme", subject="ada")
EVE = Caller(project="other", subject="eve")
BUCKET = "tidemill-ingest-exchange"


class InMemoryLedger:
    """Does what `MongoLedger` does: both pass tests/adapters/test_ledgers.py."""

    def __init__(self, *, large_bytes: int = 1000) -> None:
        self.large_bytes = large_bytes
        self.counted: list[IndexRef] = []
        """Index versions whose rows were all read."""
        self.read_pages = 0
        """Of indexed rows."""
        self.stored: dict[tuple[IndexRef, str], Row] = {}
        self.epochs: dict[tuple[IndexRef, str], int] = {}

    async def upsert_desired(self, index: IndexRef, desired: DesiredDocument) -> bool:
        row = self.stored.get((index, desired.document))
        if row and row.desired.seq >= desired.seq:
            return False
        kept = row or Row(desired=desired)
        hidden_below = kept.hidden_below if desired.content and not desired.begins else desired.seq
        self.stored[index, desired.document] = replace(
            kept, desired=desired, attempts=0, failure="", again=False, hidden_below=hidden_below
        )
        return True

    async def upsert_all_desired(self, index: IndexRef, desired: Sequence[DesiredDocument]) -> None:
        for each in desired:
            await self.upsert_desired(index, each)

    async def take(self, index: IndexRef, *, epoch: int, limit: int, large: bool = False) -> Sequence[Row]:
        rows = [row for (ref, _), row in self.stored.items() if ref == index and row.pending]
        rows = [row for row in rows if self._is_large(row) == large][:limit]
        for row in rows:
            place = index, row.desired.document
            self.epochs[place] = max(epoch, self.epochs.get(place, 0))
        return deepcopy(rows)

    async def attempt(self, index: IndexRef, rows: Sequence[Row], *, epoch: int, by: int) -> None:
        for row in rows:
            place = index, row.desired.document
            stored = self.stored.get(place)
            if stored and stored.pending and stored.attempts + by >= 0 and self.epochs.get(place, 0) <= epoch:
                self.stored[place] = replace(stored, attempts=stored.attempts + by)

    async def mark_indexed(self, index: IndexRef, row: Row, *, epoch: int, chunks: int, note: str = "") -> bool:
        return self._write(
            index,
            row,
            epoch,
            replace(row, indexed_seq=row.desired.seq, chunks=chunks, attempts=0, failure="", again=False, note=note),
        )

    async def fail(self, index: IndexRef, row: Row, *, epoch: int, message: str, final: bool) -> bool:
        failed = replace(row, attempts=row.attempts + 1, failure=message if final else "")
        return self._write(index, row, epoch, failed)

    def _write(self, index: IndexRef, row: Row, epoch: int, written: Row) -> bool:
        place = index, row.desired.document
        stored = self.stored.get(place)
        if stored is None or stored.desired.seq != row.desired.seq or self.epochs.get(place, 0) > epoch:
            return False
        self.stored[place], self.epochs[place] = written, epoch
        return True

    async def rows(self, index: IndexRef, documents: Sequence[str]) -> Mapping[str, Row]:
        found = {document: self.stored.get((index, document)) for document in documents}
        return {document: deepcopy(row) for document, row in found.items() if row}

    async def counts(self, indexes: Sequence[IndexRef]) -> Mapping[IndexRef, Counts]:
        return {index: self._counts(index) for index in indexes}

    async def count(self, index: IndexRef) -> Counts:
        self.counted.append(index)
        return self._counts(index)

    def _is_large(self, row: Row) -> bool:
        return row.desired.content is not None and row.desired.content.size > self.large_bytes

    def _counts(self, index: IndexRef) -> Counts:
        rows = [row for (ref, _), row in self.stored.items() if ref == index]
        present = [row for row in rows if row.desired.content]
        return Counts(
            desired=len(present),
            indexed=sum(row.indexed_seq == row.desired.seq and not row.pending for row in present),
            failed=sum(bool(row.failure) for row in present),
            chunks=sum(row.chunks for row in present),
            pending=sum(row.pending for row in rows),
        )

    async def indexed(self, index: IndexRef) -> AsyncIterator[Sequence[Row]]:
        rows = [row for (ref, _), row in self.stored.items() if ref == index and row.desired.content]
        for row in rows:
            if not row.pending and not row.failure:
                self.read_pages += 1
                yield [deepcopy(row)]

    async def reset(self, index: IndexRef, documents: Sequence[str], *, epoch: int) -> None:
        for document in documents:
            place = index, document
            row = self.stored.get(place)
            if row and row.desired.content and not row.pending and not row.failure and self.epochs[place] <= epoch:
                self.stored[place] = replace(row, again=True, attempts=0)
                self.epochs[place] = epoch

    async def drop(self, index: IndexRef) -> None:
        for place in [place for place in self.stored if place[0] == index]:
            del self.stored[place]


class InMemoryVectors:
    """Does what the Qdrant adapters do: all pass tests/adapters/test_vector_stores.py."""

    durable = False

    def __init__(self) -> None:
        self.points: dict[str, dict[str, Point]] = {}
        self.down = False

    async def create(self, index: str, *, dimensions: int) -> None:
        assert dimensions
        self.points.setdefault(index, {})

    async def drop(self, index: str) -> None:
        self.points.pop(index, None)

    async def upsert(self, index: str, points: Sequence[Point]) -> None:
        if self.down:
            message = "the vector store is down"
            raise DependencyUnavailable(message, dependency="vectors")
        self.points[index].update({point.id: deepcopy(point) for point in points})

    async def delete(self, index: str, document: str, *, below_seq: int, keep: Sequence[str] = ()) -> None:
        kept = self.points.get(index, {})
        for point in [p for p in kept.values() if p.payload.document == document and p.payload.seq < below_seq]:
            if point.id not in keep:
                del kept[point.id]

    async def search(self, index: str, vector: Sequence[float], *, limit: int, where: Where) -> Sequence[Match]:
        matches = [
            Match(id=point.id, score=_cosine(vector, point.vector), payload=point.payload)
            for point in self.points.get(index, {}).values()
            if _passes(point, where)
        ]
        return deepcopy(sorted(matches, key=lambda match: -match.score)[:limit])

    async def ids(self, index: str, documents: Sequence[str]) -> Mapping[str, Sequence[str]]:
        points = self.points.get(index, {}).values()
        found = {each: [p.id for p in points if p.payload.document == each] for each in documents}
        return {document: ids for document, ids in found.items() if ids}

    async def count(self, index: str) -> int:
        return len(self.points.get(index, {}))

    async def ping(self) -> None:
        """Answer always."""

    async def close(self) -> None:
        """Hold nothing."""


def _passes(point: Point, where: Where) -> bool:
    payload = point.payload
    return (
        (not payload.readers or bool({*payload.readers} & {*where.principals}))
        and (not where.sources or payload.source in where.sources)
        and all(
            any(
                (type(known := payload.metadata.get(name)) is bool) == (type(value) is bool) and known == value
                for value in values
            )
            for name, values in where.metadata.items()
        )
    )


def _cosine(a: Sequence[float], b: Sequence[float]) -> float:
    lengths = math.hypot(*a) * math.hypot(*b)
    return sum(x * y for x, y in zip(a, b, strict=True)) / lengths if lengths else 0.0


class WordModel:
    """Embeds a text as the bag of its words: alike texts share words. A token is a word."""

    dimensions = 512
    max_tokens = 256
    special_tokens = 2

    def __init__(self) -> None:
        self.batches: list[int] = []

    def tokenize(self, text: str) -> Sequence[tuple[int, int]]:
        return [found.span() for found in re.finditer(r"\w+|[^\w\s]", text)]

    def known_share(self, text: str) -> float:
        """Know the letters of ASCII."""
        letters = [each for each in text if each.isalnum()]
        return sum(each.isascii() for each in letters) / len(letters) if letters else 1.0

    async def cut(self, project: str, content: DocumentContent, cut: Cut) -> tuple[Sequence[Chunk], int]:
        assert project
        return known_chunks(
            content.text,
            media_type=content.media_type,
            title=content.title,
            cut=cut,
            tokenize=self.tokenize,
            known_share=self.known_share,
        )

    async def embed_passages(self, project: str, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        assert project
        self.batches.append(len(texts))
        return [_bag(text) for text in texts]

    async def embed_query(self, project: str, text: str) -> Sequence[float] | None:
        assert project
        return _bag(text) if self.known_share(text) >= MIN_KNOWN else None


def _bag(text: str) -> list[float]:
    vector = [0.0] * WordModel.dimensions
    for word in re.findall(r"\w+", text.lower()):
        vector[int(hashlib.sha256(word.encode()).hexdigest(), 16) % WordModel.dimensions] += 1.0
    length = math.hypot(*vector) or 1.0
    return [value / length for value in vector]


class Models:
    """A registry with the models `words`, of which there are `newest` versions, and `remote`, which cannot embed."""

    def __init__(self) -> None:
        self.model = WordModel()
        self.newest = 1

    async def resolve(self, project: str, reference: str) -> ResolvedModel:
        assert project
        name, _, version = reference.partition("@")
        if name == "remote":
            raise EmbeddingUnusable(reference, "is a remote model")
        if name != "words" or int(version or 1) > self.newest:
            message = f"there is no model {reference} in this project: there are words"
            raise NotFound(message)
        return ResolvedModel(reference=f"words@{version or self.newest}", max_tokens=self.model.max_tokens)

    async def load(self, project: str, resolved: str) -> WordModel:
        await self.resolve(project, resolved)
        return self.model


class Ingest:
    """ingest as rag sees it: its list, its exchange bucket, and its events."""

    def __init__(self) -> None:
        self.documents_of: dict[tuple[str, str], dict[str, DesiredDocument]] = {}
        self.contents: dict[ObjectRef, DocumentContent | BaseException] = {}
        self.down = False
        self.page_size = 1000
        self.breaks_after: int | None = None
        self.listed: list[tuple[str, str]] = []
        """Sources and tokens of the pages that were read."""
        self.when_listed: Callable[[], Awaitable[None]] | None = None

    def put(  # noqa: PLR0913 - a document has many sides, and each test names one
        self,
        document: str,
        text: str,
        *,
        seq: int = 1,
        project: str = "acme",
        source: str = "cms",
        media_type: str = "text/plain",
        title: str = "",
        readers: tuple[str, ...] = (),
        metadata: dict[str, str | int | float | bool] | None = None,
    ) -> DesiredDocument:
        """Store a version, and return its event."""
        digest = hashlib.sha256(f"{text}{seq}".encode()).hexdigest()
        ref = ObjectRef(bucket=BUCKET, key=f"{project}/{document}/{digest}", size=len(text), sha256=digest)
        self.contents[ref] = DocumentContent(
            media_type=media_type, text=text, title=title, readers=readers, metadata=metadata or {}
        )
        desired = DesiredDocument(document=document, source=source, key=document, seq=seq, version=seq, content=ref)
        self.documents_of.setdefault((project, source), {})[document] = desired
        return desired

    def remove(self, document: str, *, seq: int, project: str = "acme", source: str = "cms") -> DesiredDocument:
        """Delete a document, and return its event."""
        gone = DesiredDocument(document=document, source=source, key=document, seq=seq)
        self.documents_of[project, source][document] = gone
        return gone

    def erase(self, desired: DesiredDocument) -> None:
        """Remove a version's text."""
        assert desired.content
        del self.contents[desired.content]

    async def page(self, project: str, source: str, *, token: str) -> CatalogPage:
        if self.down or len(self.listed) == self.breaks_after:
            message = "ingest does not answer"
            raise DependencyUnavailable(message, dependency="ingest")
        if token and not token.isdigit():
            message = "page_token is not a token of this list"
            raise InvalidInput(message)
        self.listed.append((source, token))
        listed = list(self.documents_of.get((project, source), {}).values())
        if self.when_listed:
            meanwhile, self.when_listed = self.when_listed, None
            await meanwhile()
        end = int(token or 0) + self.page_size
        return CatalogPage(documents=listed[int(token or 0) : end], next_token=str(end) if end < len(listed) else "")

    async def get(self, ref: ObjectRef) -> DocumentContent | None:
        content = self.contents.get(ref)
        if isinstance(content, BaseException):
            raise content
        return content


class InMemoryLeases:
    """One holder at a time; the epoch grows with every holder."""

    def __init__(self) -> None:
        self.held_now: set[IndexRef] = set()
        self.epochs: dict[IndexRef, int] = {}

    @asynccontextmanager
    async def held(self, index: IndexRef) -> AsyncIterator[int | None]:
        if index in self.held_now:
            yield None
            return
        self.held_now.add(index)
        self.epochs[index] = self.epochs.get(index, 0) + 1
        try:
            yield self.epochs[index]
        finally:
            self.held_now.discard(index)


@dataclass(kw_only=True)
class Rag:
    """A rag on stores in memory."""

    clock: FixedClock = field(default_factory=FixedClock)
    ingest: Ingest = field(default_factory=Ingest)
    ledger: InMemoryLedger = field(default_factory=InMemoryLedger)
    vectors: InMemoryVectors = field(default_factory=InMemoryVectors)
    models: Models = field(default_factory=Models)
    leases: InMemoryLeases = field(default_factory=InMemoryLeases)
    enqueued: list[IndexRef] = field(default_factory=list)
    swept: list[tuple[IndexRef, str, int]] = field(default_factory=list)
    turns: int = 0
    """How often work was left to the next turn."""

    def __post_init__(self) -> None:
        self.collections = InMemoryAggregates[Collection](
            codec=CollectionCodec(), missing=CollectionNotFound, clock=self.clock
        )
        resolve = ResolveSettings(models=self.models)
        enqueue = self.enqueued.append
        self.create = CreateCollection(collections=self.collections, resolve=resolve, clock=self.clock, enqueue=enqueue)
        self.update = UpdateCollection(collections=self.collections, resolve=resolve, clock=self.clock, enqueue=enqueue)
        self.delete = DeleteCollection(collections=self.collections, clock=self.clock, enqueue=enqueue)
        self.rebuild = RebuildIndex(collections=self.collections, models=self.models, clock=self.clock, enqueue=enqueue)
        self.read = ReadCollections(collections=self.collections, ledger=self.ledger)
        self.note = RecordDocument(collections=self.collections, ledger=self.ledger, enqueue=enqueue)
        self.index_documents = IndexDocuments(
            ledger=self.ledger,
            contents=self.ingest,
            models=self.models,
            vectors=self.vectors,
            limits=BatchLimits(
                documents=10, max_concurrent_fetches=3, chunks=8, large_chunks=4, max_concurrent_large=1
            ),
        )
        self.reconcile = self.new_reconcile()
        self.search_use_case = Search(
            collections=self.collections,
            ledger=self.ledger,
            vectors=self.vectors,
            models=self.models,
            sweep=lambda index, document, below: self.swept.append((index, document, below)),
            max_characters=1000,
        )

    def new_reconcile(self) -> ReconcileIndex:
        """Return a reconciler as a restarted process has it."""
        return ReconcileIndex(
            collections=self.collections,
            ledger=self.ledger,
            vectors=self.vectors,
            catalog=self.ingest,
            models=self.models,
            index_documents=self.index_documents,
            compare_points=ComparePoints(ledger=self.ledger, vectors=self.vectors),
            clock=self.clock,
            sweep_after=timedelta(seconds=30),
        )

    async def handbook(self, *, caller: Caller = ADA, request_id: str = "r1") -> Collection:
        """Create collection handbook over source cms, and bring it to where it should be."""
        await self.create(caller, spec(), request=Request(id=request_id, digest="d"))
        await self.work(caller.project)
        return await self.collections.get(caller.project, "handbook")

    async def work(self, project: str = "acme", *, collection: str = "handbook") -> None:
        """Do what workers would do for a collection, until nothing is left but what has to wait."""
        for number in range(1, 20):
            ref = IndexRef(project=project, collection=collection, number=number)
            async with self.leases.held(ref) as epoch:
                assert epoch
                while await self.reconcile(ref, epoch=epoch) is Requeue.NOW:
                    self.turns += 1

    async def consume(self, desired: DesiredDocument, *, project: str = "acme") -> None:
        """Handle an event of ingest."""
        await self.note(project, desired)

    async def search(self, text: str, *, caller: Caller = ADA, **sides: Any) -> Answer:  # noqa: ANN401 - fields of Question
        """Ask collection handbook."""
        question = Question(collection="handbook", text=text)
        return await self.search_use_case(caller, replace(question, **sides))

    async def found(self, text: str, *, caller: Caller = ADA, **sides: Any) -> list[str]:  # noqa: ANN401 - ditto
        """Return the documents that are found, best first."""
        answer = await self.search(text, caller=caller, **sides)
        return [passage.payload.document for passage in answer.passages]


def spec(
    collection: str = "handbook",
    *,
    sources: tuple[str, ...] = ("cms",),
    embedding: str = "words",
    max_tokens: int = 0,
    overlap_tokens: int | None = None,
) -> CollectionSpec:
    """Return the spec of a collection."""
    return CollectionSpec(
        collection=collection,
        sources=sources,
        embedding=embedding,
        by="",
        max_tokens=max_tokens,
        overlap_tokens=overlap_tokens,
        labels={},
    )


def request(request_id: str, digest: str = "d") -> Request:
    """Return a caller's intent."""
    return Request(id=request_id, digest=digest)
