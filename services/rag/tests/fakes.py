"""Stores, ingest and an embedding model that live in memory, and a rag put together on them."""

import asyncio
import hashlib
import math
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from services.rag.tests.fake_stores import InMemoryLedger, InMemoryVectors
from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Caller, Page, Request, Requeue
from tidemill_core.errors import DependencyUnavailable, InvalidInput, NotFound
from tidemill_core.resources import Write
from tidemill_rag.collections.crud import CollectionCrud
from tidemill_rag.collections.domain.collection import Collection, GoLive, IndexRef, Keep
from tidemill_rag.collections.mongo import COLLECTIONS, SharedReads
from tidemill_rag.collections.promote_index import PromoteIndex
from tidemill_rag.collections.rebuild_index import RebuildIndex
from tidemill_rag.collections.resolve_settings import ChunkingSpec, CollectionSpec, ResolveSettings
from tidemill_rag.embedding.bm25 import Bm25Embedding
from tidemill_rag.embedding.domain import MIN_KNOWN
from tidemill_rag.embedding.ports import EmbeddedText, ResolvedModel, TokenMatch
from tidemill_rag.errors import CollectionNotFound, EmbeddingUnusable, GraphMissing, RerankerUnusable, TextTooLong
from tidemill_rag.indexing.compare_points import ComparePoints
from tidemill_rag.indexing.domain.chunking import Chunk, Cut, known_chunks
from tidemill_rag.indexing.domain.content import DocumentContent
from tidemill_rag.indexing.domain.ledger import DesiredDocument
from tidemill_rag.indexing.domain.places import Anchor
from tidemill_rag.indexing.index_documents import BatchLimits, IndexDocuments
from tidemill_rag.indexing.reconcile_index import AT_ONCE, ReconcileIndex
from tidemill_rag.indexing.record_document import RecordDocument
from tidemill_rag.search.neighbours import Neighbours
from tidemill_rag.search.question import Question
from tidemill_rag.search.rerank import RerankMatches
from tidemill_rag.search.search import Answer, Search
from tidemill_rag.search.search_collection import SearchCollection
from tidemill_testkit.clocks import FixedClock
from tidemill_testkit.leases import InMemoryLeases
from tidemill_testkit.stores import InMemoryAggregates

ADA = Caller(project="acme", subject="ada")
EVE = Caller(project="other", subject="eve")
KEEP = Keep(max_ready=2, replaced=timedelta(hours=1))
BUCKET = "tidemill-ingest-exchange"


class WordModel:
    """Embeds a text as the bag of its words: alike texts share words. A token is a word."""

    dimensions = 512
    max_tokens = 256
    special_tokens = 2
    quantized = True

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
            without=content.boilerplate,
            tokenize=self.tokenize,
            known_share=self.known_share,
        )

    async def embed_passages(self, project: str, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        assert project
        self.batches.append(len(texts))
        return [_bag(text) for text in texts]

    async def embed_whole(self, project: str, texts: Sequence[str]) -> Sequence[EmbeddedText]:
        assert project
        embedded = [EmbeddedText(vector=_bag(text), tokens=len(self.tokenize(text)) + 2) for text in texts]
        for number, each in enumerate(embedded):
            if each.tokens > self.max_tokens:
                raise TextTooLong(number, limit=self.max_tokens)
        return embedded

    async def match_tokens(self, project: str, pairs: Sequence[tuple[str, str]]) -> Sequence[TokenMatch]:
        assert project
        return [TokenMatch(precision=float(text == reference), recall=1.0) for text, reference in pairs]

    async def embed_query(self, project: str, text: str) -> Sequence[float] | None:
        assert project
        return _bag(text) if self.known_share(text) >= MIN_KNOWN else None

    async def embed_whole_query(self, project: str, text: str) -> Sequence[float] | None:
        assert project
        whole = self.known_share(text) == 1 and len(self.tokenize(text)) + 2 <= self.max_tokens
        return _bag(text) if whole else None


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
        self.quantizes = True
        """What new indexes are made with."""
        self.export_died = False
        self.quantized: list[bool | None] = []
        """In which form the model was loaded."""

    async def resolve(self, caller: Caller, reference: str) -> ResolvedModel:
        assert caller.project
        name, _, version = reference.partition("@")
        if name == "remote":
            raise EmbeddingUnusable(reference, "is a remote model")
        if name != "words" or int(version or 1) > self.newest:
            message = f"there is no model {reference} in this project: there are words"
            raise NotFound(message)
        return ResolvedModel(
            reference=f"words@{version or self.newest}", max_tokens=self.model.max_tokens, quantizes=self.quantizes
        )

    async def load(self, caller: Caller, resolved: str, *, quantized: bool | None = None) -> WordModel:
        await self.resolve(caller, resolved)
        self.quantized.append(quantized)
        if self.export_died and quantized is not False:
            raise GraphMissing(resolved, "cannot be exported: the export ended its process", passing=True)
        return self.model


class Rerankers:
    """A registry with the model `counting@1`, which counts how often a text has the first word of the question."""

    def __init__(self) -> None:
        self.read: list[str] = []
        self.fails: Exception | None = None
        self.hangs = self.is_loading = False

    async def check(self, caller: Caller, reference: str) -> None:
        assert caller.project
        if reference != "counting@1":
            raise RerankerUnusable(reference, "is no cross-encoder")

    async def load(self, caller: Caller, reference: str) -> "Rerankers":
        await self.check(caller, reference)
        if self.fails:
            raise self.fails
        if self.is_loading:
            await asyncio.Event().wait()
        return self

    async def scores(self, project: str, question: str, texts: Sequence[str]) -> Sequence[float]:
        assert project
        if self.hangs:
            await asyncio.Event().wait()
        self.read = list(texts)
        return [text.split().count(question.split(maxsplit=1)[0]) / 10 for text in texts]


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
        anchors: tuple[Anchor, ...] = (),
        version_time: datetime | None = None,
    ) -> DesiredDocument:
        """Store a version, and return its event."""
        digest = hashlib.sha256(f"{text}{seq}".encode()).hexdigest()
        ref = ObjectRef(bucket=BUCKET, key=f"{project}/{document}/{digest}", size=len(text), sha256=digest)
        self.contents[ref] = DocumentContent(
            media_type=media_type,
            text=text,
            title=title,
            readers=readers,
            metadata=metadata or {},
            anchors=anchors,
        )
        desired = DesiredDocument(
            document=document,
            source=source,
            key=document,
            seq=seq,
            version=seq,
            version_time=version_time,
            content=ref,
        )
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

    async def page(self, caller: Caller, source: str, *, token: str) -> Page[DesiredDocument]:
        if self.down or len(self.listed) == self.breaks_after:
            message = "ingest does not answer"
            raise DependencyUnavailable(message, dependency="ingest")
        if token and not token.isdigit():
            message = "page_token is not a token of this list"
            raise InvalidInput(message)
        self.listed.append((source, token))
        listed = list(self.documents_of.get((caller.project, source), {}).values())
        if self.when_listed:
            meanwhile, self.when_listed = self.when_listed, None
            await meanwhile()
        end = int(token or 0) + self.page_size
        return Page(items=listed[int(token or 0) : end], next_token=str(end) if end < len(listed) else "")

    async def get(self, ref: ObjectRef) -> DocumentContent | None:
        content = self.contents.get(ref)
        if isinstance(content, BaseException):
            raise content
        return content


@dataclass(kw_only=True)
class Rag:
    """A rag on stores in memory."""

    clock: FixedClock = field(default_factory=FixedClock)
    ingest: Ingest = field(default_factory=Ingest)
    ledger: InMemoryLedger = field(default_factory=InMemoryLedger)
    vectors: InMemoryVectors = field(default_factory=InMemoryVectors)
    models: Models = field(default_factory=Models)
    rerankers: Rerankers = field(default_factory=Rerankers)
    leases: InMemoryLeases = field(default_factory=InMemoryLeases)
    enqueued: list[IndexRef] = field(default_factory=list)
    swept: list[tuple[IndexRef, str, int]] = field(default_factory=list)
    turns: int = 0
    """How often work was left to the next turn."""

    def __post_init__(self) -> None:
        self.collections = InMemoryAggregates[Collection](
            codec=COLLECTIONS, missing=CollectionNotFound, clock=self.clock
        )
        enqueue = self.enqueued.append
        self.crud = CollectionCrud(
            collections=self.collections,
            ledger=self.ledger,
            resolve=ResolveSettings(models=self.models, rerankers=self.rerankers),
            clock=self.clock,
            enqueue=enqueue,
        )
        self.rebuild = RebuildIndex(collections=self.collections, models=self.models, clock=self.clock, enqueue=enqueue)
        self.promote = PromoteIndex(
            collections=self.collections, ledger=self.ledger, clock=self.clock, enqueue=enqueue, keep=KEEP
        )
        self.record = RecordDocument(collections=SharedReads(self.collections), ledger=self.ledger, enqueue=enqueue)
        self.index_documents = IndexDocuments(
            ledger=self.ledger,
            contents=self.ingest,
            models=self.models,
            sparse=Bm25Embedding(),
            vectors=self.vectors,
            limits=BatchLimits(
                documents=10,
                max_concurrent_fetches=3,
                chunks=8,
                chunks_together=4,
                large_chunks=4,
                max_concurrent_large=1,
            ),
        )
        self.reconcile = self.new_reconcile()
        self.search_passages = Search(
            one=SearchCollection(
                collections=self.collections,
                ledger=self.ledger,
                vectors=self.vectors,
                neighbours=Neighbours(vectors=self.vectors),
                rerank=RerankMatches(rerankers=self.rerankers, timeout_s=0.1),
                models=self.models,
                sparse=Bm25Embedding(),
                sweep=lambda index, document, below: self.swept.append((index, document, below)),
            ),
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
            keep=KEEP,
        )

    async def handbook(
        self, *, caller: Caller = ADA, request_id: str = "r1", go_live: GoLive | None = None
    ) -> Collection:
        """Create collection handbook over source cms, and bring it to where it should be."""
        await self.crud.create(caller, replace(spec(), go_live=go_live), write(request_id))
        await self.work(caller.project)
        return await self.collections.get(caller.project, "handbook")

    async def work(self, project: str = "acme", *, collection: str = "handbook") -> None:
        """Do what workers would do for a collection, until nothing is left but what has to wait."""
        for number in range(1, 20):
            ref = IndexRef(project=project, collection=collection, number=number)
            while await self.turn(ref) == AT_ONCE:
                self.turns += 1

    async def turn(self, index: IndexRef) -> Requeue | None:
        """Reconcile an index version once, under its lease."""
        async with self.leases.held(index.key) as lease:
            assert lease
            return await self.reconcile(index, epoch=lease.epoch)

    async def consume(self, desired: DesiredDocument, *, project: str = "acme") -> None:
        """Handle an event of ingest."""
        await self.record(Caller(project=project), desired)

    async def search(self, text: str, *, caller: Caller = ADA, **sides: Any) -> Answer:  # noqa: ANN401 - fields of Question
        """Ask collection handbook."""
        question = Question(collection="handbook", query=text)
        return await self.search_passages(caller, replace(question, **sides))

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
        id=collection,
        sources=sources,
        embedding=embedding,
        chunking=ChunkingSpec(max_tokens=max_tokens, overlap_tokens=overlap_tokens),
        labels={},
    )


def write(request_id: str, digest: str = "d", **how: Any) -> Write:  # noqa: ANN401 - fields of Write
    """Return how a change is asked for."""
    return Write(request=Request(id=request_id, digest=digest), **how)
