"""The composition root: the only module that imports both adapters and entry points."""

from dataclasses import dataclass

from tidemill.rag.v1.collection_service_pb2_grpc import add_CollectionServiceServicer_to_server
from tidemill.rag.v1.retrieval_service_pb2_grpc import add_RetrievalServiceServicer_to_server
from tidemill.rag.v1.text_embedding_service_pb2_grpc import add_TextEmbeddingServiceServicer_to_server
from tidemill_core.application import SystemClock
from tidemill_kit.service.app import App, Worker
from tidemill_kit.service.backend import Backend
from tidemill_kit.workers.leases import Leases
from tidemill_rag.collections.crud import CollectionCrud
from tidemill_rag.collections.grpc import GrpcCollectionService
from tidemill_rag.collections.mongo import COLLECTIONS, SharedReads
from tidemill_rag.collections.ports import Collections, Enqueue
from tidemill_rag.collections.promote_index import PromoteIndex
from tidemill_rag.collections.rebuild_index import RebuildIndex
from tidemill_rag.collections.resolve_settings import ResolveSettings
from tidemill_rag.embedding.bm25 import Bm25Embedding
from tidemill_rag.embedding.embed import EmbedTexts
from tidemill_rag.embedding.grpc import GrpcTextEmbeddingService
from tidemill_rag.embedding.trainer import TrainerModels, TrainerRerankers
from tidemill_rag.embedding.wiring import wire_embedding
from tidemill_rag.erasure import models_of_deleted_projects, steps
from tidemill_rag.errors import CollectionNotFound
from tidemill_rag.indexing.events import documents
from tidemill_rag.indexing.mongo import MongoLedger
from tidemill_rag.indexing.record_document import RecordDocument
from tidemill_rag.indexing.wiring import wire_indexes
from tidemill_rag.search.reconcile import StalePoints
from tidemill_rag.search.wiring import wire_search
from tidemill_rag.settings import RagSettings
from tidemill_rag.similarity.wiring import wire_similarity
from tidemill_rag.topics.wiring import wire_topics
from tidemill_rag.vectors.ports import VectorStore
from tidemill_rag.vectors.wiring import edge_holds, graph_builds, wire_vectors


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the features share."""

    collections: Collections
    ledger: MongoLedger
    vectors: VectorStore
    models: TrainerModels
    rerankers: TrainerRerankers
    sparse: Bm25Embedding
    leases: Leases
    """Of index versions."""


async def build_app(settings: RagSettings) -> App:
    """Build rag on the running event loop; nothing connects before `start`."""
    backend = Backend(settings, serves_without_objects=True)
    parts = _parts(settings, backend)
    indexes = wire_indexes(
        settings,
        backend,
        collections=parts.collections,
        ledger=parts.ledger,
        vectors=parts.vectors,
        models=parts.models,
        sparse=parts.sparse,
        leases=parts.leases,
    )
    stale = StalePoints(parts.vectors)
    search = wire_search(
        settings,
        backend,
        collections=parts.collections,
        ledger=parts.ledger,
        vectors=parts.vectors,
        models=parts.models,
        rerankers=parts.rerankers,
        sparse=parts.sparse,
        stale=stale,
    )
    texts = GrpcTextEmbeddingService(embed=EmbedTexts(collections=parts.collections, models=parts.models))
    similarity = wire_similarity(settings, backend, vectors=parts.vectors, models=parts.models)
    record = RecordDocument(collections=SharedReads(parts.collections), ledger=parts.ledger, enqueue=indexes.enqueue)
    return backend.app(
        servicers=[
            (add_CollectionServiceServicer_to_server, _collection_service(settings, parts, indexes.enqueue)),
            (add_RetrievalServiceServicer_to_server, search),
            (add_TextEmbeddingServiceServicer_to_server, texts),
            similarity.servicer,
            wire_topics(settings, backend, collections=parts.collections, ledger=parts.ledger, vectors=parts.vectors),
        ],
        consumers=[documents(record)],
        components=edge_holds(settings, backend),
        workers=[
            indexes,
            Worker("stale_points", stale.run),
            similarity.sweeps,
            *graph_builds(settings, parts.vectors),
            models_of_deleted_projects(settings, backend),
        ],
        erasures=steps(
            settings,
            backend,
            collections=parts.collections,
            ledger=parts.ledger,
            vectors=parts.vectors,
            leases=parts.leases,
            similarity=similarity,
        ),
    )


def _parts(settings: RagSettings, backend: Backend) -> Parts:
    models = wire_embedding(settings, backend)
    return Parts(
        collections=backend.aggregates(
            "collections",
            COLLECTIONS,
            missing=CollectionNotFound,
            topic="tidemill.rag.index.v1",
            quota=settings.quota("collections"),
        ),
        ledger=backend.indexed(
            MongoLedger(
                backend.database["ledger"],
                backend.database["ledger_counts"],
                large_bytes=settings.large_document_bytes,
                count_s=settings.count_s,
            )
        ),
        vectors=wire_vectors(settings, backend),
        models=models.embedding,
        rerankers=models.rerankers,
        sparse=Bm25Embedding(),
        leases=backend.leases("index_leases"),
    )


def _collection_service(settings: RagSettings, parts: Parts, enqueue: Enqueue) -> GrpcCollectionService:
    clock = SystemClock()
    crud = CollectionCrud(
        collections=parts.collections,
        ledger=parts.ledger,
        resolve=ResolveSettings(models=parts.models, rerankers=parts.rerankers),
        clock=clock,
        enqueue=enqueue,
    )
    rebuild = RebuildIndex(collections=parts.collections, models=parts.models, clock=clock, enqueue=enqueue)
    promote = PromoteIndex(
        collections=parts.collections, ledger=parts.ledger, clock=clock, enqueue=enqueue, keep=settings.keep
    )
    return GrpcCollectionService(crud=crud, rebuild=rebuild, promote=promote)
