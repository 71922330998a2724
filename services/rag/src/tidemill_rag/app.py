"""The composition root: the only module that imports both adapters and entry points."""

from datetime import timedelta

from tidemill.rag.v1.collection_service_pb2_grpc import add_CollectionServiceServicer_to_server
from tidemill.rag.v1.retrieval_service_pb2_grpc import add_RetrievalServiceServicer_to_server
from tidemill_core.application import SystemClock
from tidemill_kit.service.app import App, Worker
from tidemill_kit.service.backend import Backend
from tidemill_kit.workers.controller import Controller
from tidemill_rag.collections.crud import CollectionCrud
from tidemill_rag.collections.grpc import GrpcCollectionService
from tidemill_rag.collections.mongo import COLLECTIONS
from tidemill_rag.collections.ports import Collections
from tidemill_rag.collections.rebuild_index import RebuildIndex
from tidemill_rag.collections.resolve_settings import ResolveSettings
from tidemill_rag.embedding.trainer import TrainerModels
from tidemill_rag.embedding.wiring import wire_embedding
from tidemill_rag.errors import CollectionNotFound
from tidemill_rag.indexing.compare_points import ComparePoints
from tidemill_rag.indexing.events import documents
from tidemill_rag.indexing.index_documents import BatchLimits, IndexDocuments
from tidemill_rag.indexing.ingest import ExchangeContents, IngestCatalog
from tidemill_rag.indexing.mongo import MongoLedger
from tidemill_rag.indexing.pending import PendingIndexes
from tidemill_rag.indexing.reconcile_index import ReconcileIndex
from tidemill_rag.indexing.record_document import RecordDocument
from tidemill_rag.search.grpc import GrpcRetrievalService
from tidemill_rag.search.reconcile import StalePoints
from tidemill_rag.search.search import Search
from tidemill_rag.settings import RagSettings
from tidemill_rag.vectors.ports import VectorStore
from tidemill_rag.vectors.wiring import edge_holds, wire_vectors

INDEX_TOPIC = "tidemill.rag.index.v1"


async def build_app(settings: RagSettings) -> App:
    """Build rag on the running event loop; nothing connects before `start`."""
    backend = Backend(settings, serves_without_objects=True)
    database = backend.database
    vectors = wire_vectors(settings, backend)
    collections = backend.aggregates(
        "collections",
        COLLECTIONS,
        missing=CollectionNotFound,
        topic=INDEX_TOPIC,
        quota=settings.quota("collections"),
    )
    ledger = backend.indexed(
        MongoLedger(
            database["ledger"],
            database["ledger_counts"],
            large_bytes=settings.large_document_bytes,
            count_s=settings.count_s,
        )
    )
    models = wire_embedding(settings, backend)
    reconcile = _reconcile(settings, backend, collections, ledger, vectors, models)
    indexes = Controller(
        "indexes",
        reconcile=lambda index, epoch: reconcile(index, epoch=epoch),
        pending=backend.indexed(PendingIndexes(database["collections"], database["ledger_counts"])),
        leases=backend.leases("index_leases"),
        max_concurrent=settings.index_max_concurrent,
        poll_interval=timedelta(seconds=settings.index_poll_interval_s),
    )
    stale = StalePoints(vectors)
    search = Search(
        collections=collections,
        ledger=ledger,
        vectors=vectors,
        models=models,
        sweep=stale.enqueue,
        max_characters=settings.max_query_characters,
    )
    crud = CollectionCrud(
        collections=collections,
        ledger=ledger,
        resolve=ResolveSettings(models=models),
        clock=SystemClock(),
        enqueue=indexes.enqueue,
    )
    rebuild = RebuildIndex(collections=collections, models=models, clock=SystemClock(), enqueue=indexes.enqueue)
    record = RecordDocument(collections=collections, ledger=ledger, enqueue=indexes.enqueue)
    return backend.app(
        servicers=[
            (add_CollectionServiceServicer_to_server, GrpcCollectionService(crud=crud, rebuild=rebuild)),
            (add_RetrievalServiceServicer_to_server, GrpcRetrievalService(search=search)),
        ],
        consumers=[documents(record)],
        components=edge_holds(settings, backend),
        workers=[indexes, Worker("stale_points", stale.run)],
    )


def _reconcile(  # noqa: PLR0913, PLR0917 - what it is made of, once
    settings: RagSettings,
    backend: Backend,
    collections: Collections,
    ledger: MongoLedger,
    vectors: VectorStore,
    models: TrainerModels,
) -> ReconcileIndex:
    return ReconcileIndex(
        collections=collections,
        ledger=ledger,
        vectors=vectors,
        catalog=IngestCatalog(backend.channel("ingest", settings.ingest_address)),
        models=models,
        index_documents=IndexDocuments(
            ledger=ledger,
            contents=ExchangeContents(backend.bucket(settings.ingest_bucket)),
            models=models,
            vectors=vectors,
            limits=BatchLimits(),
        ),
        compare_points=ComparePoints(ledger=ledger, vectors=vectors),
        clock=SystemClock(),
        sweep_after=timedelta(seconds=settings.sweep_after_s),
    )
