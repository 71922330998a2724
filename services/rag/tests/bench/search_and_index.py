"""How fast rag searches and indexes, on a running stack: kafka and services are not needed, MongoDB is.

In the repository: `TIDEMILL_TEST_STACK=.tidemill/stack.json python -m services.rag.tests.bench.search_and_index`.
Search: synthetic random vectors for the passages (so the distances mean nothing, the work is the same), real MiniLM for
the questions, embedded vector store, ledger in MongoDB, 200 different questions one after the other. Indexing: the
documents of examples/helpdesk, fetched from memory, everything else real. Prints one JSON line for each.
"""

import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from services.rag.tests.fakes import ADA, Ingest
from services.rag.tests.tokenizing import tokenizer_here
from tidemill_core.application import Caller, derived_id
from tidemill_kit.models.numeric_format import computed_format
from tidemill_kit.store import mongo
from tidemill_local import Addresses
from tidemill_local.models import EMBEDDINGS
from tidemill_local.places import MODELS
from tidemill_testkit.clocks import NOON
from tidemill_testkit.stack import unique_name
from tidemill_testkit.stores import InMemoryAggregates

sys.path.append(str(Path(__file__).parents[4] / "examples" / "helpdesk"))
import corpus  # type: ignore[import-not-found]  # an example, which is no package

from tidemill_rag.collections.domain.collection import Collection, IndexRef
from tidemill_rag.collections.domain.index_version import Chunking, IndexState, IndexVersion
from tidemill_rag.collections.domain.search_settings import SearchSettings
from tidemill_rag.collections.mongo import COLLECTIONS
from tidemill_rag.collections.resolve_settings import DEFAULT_SPARSE
from tidemill_rag.embedding.bm25 import Bm25Embedding
from tidemill_rag.embedding.config import EmbeddingConfig
from tidemill_rag.embedding.ports import ResolvedModel
from tidemill_rag.embedding.thread import EmbeddingThreads
from tidemill_rag.embedding.transformers import TransformersEmbedding
from tidemill_rag.errors import CollectionNotFound
from tidemill_rag.indexing.index_documents import BatchLimits, IndexDocuments
from tidemill_rag.indexing.mongo import MongoLedger
from tidemill_rag.search.neighbours import Neighbours
from tidemill_rag.search.question import Question
from tidemill_rag.search.rerank import RerankMatches
from tidemill_rag.search.search import Search
from tidemill_rag.search.search_collection import SearchCollection
from tidemill_rag.vectors.edge import QdrantEdgeVectors
from tidemill_rag.vectors.ports import Payload, Point

REF = IndexRef(project="acme", collection="handbook", number=1)
INDEX = IndexVersion(
    number=1,
    state=IndexState.LIVE,
    sources=("cms",),
    embedding="minilm@1",
    chunking=Chunking(),
    sparse=DEFAULT_SPARSE,
    create_time=NOON,
    seeded=True,
)
CHUNKS_A_DOCUMENT = 2
_COMMON = ["how", "do", "i", "reset", "number", "in", *(f"word{number}" for number in range(20_000))]


class NoRerankers:
    """A registry without rerankers."""

    async def check(self, caller: Caller, reference: str) -> None:
        """Know none."""
        raise NotImplementedError(caller, reference)

    async def load(self, caller: Caller, reference: str) -> Any:  # noqa: ANN401 - none
        """Know none."""
        raise NotImplementedError(caller, reference)


class OneModel:
    """The one model there is."""

    def __init__(self, model: Any) -> None:  # noqa: ANN401 - the model, or what wraps it
        self.model = model

    async def resolve(self, caller: Caller, reference: str) -> ResolvedModel:
        """Return its name."""
        assert caller.project
        return ResolvedModel(reference=reference, max_tokens=self.model.max_tokens)

    async def load(self, caller: Caller, resolved: str, **_: object) -> Any:  # noqa: ANN401 - ditto
        """Return it."""
        assert caller.project
        assert resolved
        return self.model


class Timed:
    """Passes calls on, and adds up how long they took."""

    def __init__(self, inner: object, name: str, seconds: dict[str, float]) -> None:
        self._inner, self._name, self._seconds = inner, name, seconds

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever it is
        call = getattr(self._inner, name)
        if not asyncio.iscoroutinefunction(call):
            return call

        async def timed(*args: object, **kwargs: object) -> object:
            begun = time.perf_counter()
            try:
                return await call(*args, **kwargs)
            finally:
                self._seconds[self._name] += time.perf_counter() - begun

        return timed


async def fill(vectors: QdrantEdgeVectors, ledger: MongoLedger, documents: range, *, dimensions: int) -> None:
    """Put random passages of these documents into both stores."""
    source, dice = Ingest(), random.Random(documents.start)  # noqa: S311 - no secret
    for begin in range(documents.start, documents.stop, 100):
        part = range(begin, min(begin + 100, documents.stop))
        places = [(number, ordinal) for number in part for ordinal in range(CHUNKS_A_DOCUMENT)]
        texts = [("", " ".join(_words(dice))) for _ in places]
        sparse = await Bm25Embedding().embed_passages(texts, languages=DEFAULT_SPARSE.languages)
        points = [
            Point(
                id=derived_id(str(number), str(ordinal)),
                vector=[dice.gauss(0, 1) for _ in range(dimensions)],
                sparse=terms,
                payload=Payload(
                    document=f"d{number}", seq=1, version=1, start=0, end=900, text=text, source="cms", key="k"
                ),
            )
            for (number, ordinal), (_, text), terms in zip(places, texts, sparse, strict=True)
        ]
        await vectors.upsert(REF.key, points)
        for number in part:
            await ledger.upsert_desired(REF, source.put(f"d{number}", "x"))
        for row in await ledger.take(REF, epoch=1, limit=1000):
            await ledger.mark_indexed(REF, row, epoch=1, chunks=CHUNKS_A_DOCUMENT)


def _words(dice: random.Random) -> list[str]:
    """Return the words of a passage; the n-th word of the vocabulary is 1/n as frequent as the first (Zipf)."""
    return [_COMMON[int(len(_COMMON) ** dice.random())] for _ in range(120)]


async def search(model: TransformersEmbedding, vectors: QdrantEdgeVectors, ledger: MongoLedger) -> None:
    """Measure questions at 1,000 and 20,000 passages, by vectors alone and with terms."""
    await vectors.create(REF.key, dimensions=model.dimensions, sparse=True)
    there = 0
    for chunks in (1_000, 20_000):
        await fill(vectors, ledger, range(there, chunks // CHUNKS_A_DOCUMENT), dimensions=model.dimensions)
        there = chunks // CHUNKS_A_DOCUMENT
        for sparse_weight in (0.0, SearchSettings().sparse_weight):
            ask = _search(model, vectors, ledger, SearchSettings(sparse_weight=sparse_weight))
            took = []
            for number in range(210):
                begun = time.perf_counter()
                query = f"How do I reset word{number} and word{100 * number} in {chunks}?"
                await ask(ADA, Question(collection="handbook", query=query))
                took.append(time.perf_counter() - begun)
            _print(search_chunks=chunks, sparse_weight=sparse_weight, **_percentiles(took[10:]))


def _search(
    model: TransformersEmbedding, vectors: QdrantEdgeVectors, ledger: MongoLedger, settings: SearchSettings
) -> Search:
    collection = Collection(id="handbook", project="acme", indexes=(INDEX,), last_index=1, search=settings)
    return Search(
        one=SearchCollection(
            collections=InMemoryAggregates(collection, codec=COLLECTIONS, missing=CollectionNotFound),
            ledger=ledger,
            vectors=vectors,
            neighbours=Neighbours(vectors=vectors),
            rerank=RerankMatches(rerankers=NoRerankers(), timeout_s=1.0),
            models=OneModel(model),
            sparse=Bm25Embedding(),
            sweep=lambda *_: None,
        ),
        max_characters=1000,
    )


async def index(model: TransformersEmbedding, vectors: QdrantEdgeVectors, ledger: MongoLedger) -> None:
    """Measure documents a second, the share of each stage, and how long the event loop was held up."""
    ref = IndexRef(project="acme", collection="handbook", number=2)
    source, seconds = Ingest(), defaultdict[str, float](float)
    documents = corpus.documents()[:: max(1, 1000 // int(os.environ.get("BENCH_DOCUMENTS", "1000")))]
    work: Any = IndexDocuments(
        ledger=Timed(ledger, "ledger", seconds),
        contents=Timed(source, "fetch", seconds),
        models=OneModel(Timed(model, "embed", seconds)),
        sparse=Bm25Embedding(),
        vectors=Timed(vectors, "vectors", seconds),
        limits=BatchLimits(),
    )
    begun = time.perf_counter()
    for each in documents:
        desired = source.put(each.key, each.text, media_type=each.media_type, title=each.title)
        await ledger.upsert_desired(ref, desired)
    seconds["ledger"] += time.perf_counter() - begun
    lags: list[float] = []
    watch = asyncio.create_task(_watch(lags))
    while await work(ref, INDEX, epoch=1):
        pass
    whole_s = time.perf_counter() - begun
    watch.cancel()
    counts = await ledger.count(ref)
    shares = {name: round(spent / whole_s, 3) for name, spent in sorted(seconds.items())}
    shares["chunk and rest"] = round(1 - sum(shares.values()), 3)
    _print(
        index_documents=counts.indexed,
        chunks=counts.chunks,
        documents_per_s=round(counts.indexed / whole_s, 1),
        chunks_per_s=round(counts.chunks / whole_s, 1),
        shares=shares,
        loop_lag_ms=_percentiles(lags),
        loop_lag_max_ms=round(max(lags) * 1000, 1),
    )


async def _watch(lags: list[float]) -> None:
    while True:
        begun = time.perf_counter()
        await asyncio.sleep(0.005)
        lags.append(time.perf_counter() - begun - 0.005)


def _percentiles(took: Sequence[float]) -> dict[str, float]:
    ordered = sorted(took)
    places = {"p50_ms": 0.5, "p95_ms": 0.95}
    return {name: round(ordered[int(len(ordered) * place)] * 1000, 2) for name, place in places.items()}


def _print(**figures: object) -> None:
    sys.stdout.write(json.dumps(figures) + "\n")
    sys.stdout.flush()


@asynccontextmanager
async def stores() -> AsyncIterator[tuple[QdrantEdgeVectors, MongoLedger]]:
    """Give stores that are removed at the end."""
    client = mongo.connect(Addresses.read(Path(os.environ["TIDEMILL_TEST_STACK"])).mongo, timeout_s=30)
    database = client[unique_name("bench-rag")]
    ledger = MongoLedger(database["ledger"], database["counts"], large_bytes=64 * 1024, count_s=60)
    await ledger.ensure_indexes()
    with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as folder:
        vectors = QdrantEdgeVectors(Path(folder))
        yield vectors, ledger
        await vectors.close()
    await client.drop_database(database.name)
    client.close()


async def main() -> None:
    """Measure both."""
    threads = EmbeddingThreads(os.cpu_count() or 1)
    folder = MODELS / EMBEDDINGS
    tokenizer, config = tokenizer_here(folder), EmbeddingConfig.of(folder)
    model = await threads.run(
        "bench",
        lambda: TransformersEmbedding(folder, threads, tokenizer, config, numeric_format=computed_format("auto")),
    )
    async with stores() as (vectors, ledger):
        await search(model, vectors, ledger)
        await index(model, vectors, ledger)


if __name__ == "__main__":
    asyncio.run(main())
