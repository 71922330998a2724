"""The composition root: the only module that imports both adapters and entry points."""

import os
from datetime import timedelta
from functools import partial

from tidemill.rag.v1.collection_service_pb2_grpc import add_CollectionServiceServicer_to_server
from tidemill.rag.v1.retrieval_service_pb2_grpc import add_RetrievalServiceServicer_to_server
from tidemill_core.application import SystemClock
from tidemill_kit.models.artifacts import ArtifactCache
from tidemill_kit.models.bounded_tokenizers import BoundedTokenizers, prepare
from tidemill_kit.models.numeric_format import computed_format
from tidemill_kit.service.app import App, Dependency, Worker
from tidemill_kit.service.backend import Backend
from tidemill_kit.workers.bounded_processes import BoundedProcesses, ProcessLimits
from tidemill_kit.workers.controller import Controller
from tidemill_rag.collections.crud import CreateCollection, DeleteCollection, ReadCollections, UpdateCollection
from tidemill_rag.collections.grpc import GrpcCollectionService, UseCases
from tidemill_rag.collections.mongo import CollectionCodec
from tidemill_rag.collections.ports import Collections, Enqueue
from tidemill_rag.collections.rebuild_index import RebuildIndex
from tidemill_rag.collections.resolve_settings import ResolveSettings
from tidemill_rag.embedding.tokenizer import Tokenizers
from tidemill_rag.embedding.trainer import TrainerModels
from tidemill_rag.embedding.transformers import TransformersEmbedding
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
from tidemill_rag.vectors.edge import QdrantEdgeVectors
from tidemill_rag.vectors.edge_hold import EdgeHold
from tidemill_rag.vectors.ports import VectorStore

INDEX_TOPIC = "tidemill.rag.index.v1"


async def build_app(settings: RagSettings) -> App:
    """Build rag on the running event loop; nothing connects before `start`."""
    backend = Backend(settings, serves_without_objects=True)
    database = backend.database
    vectors = _vectors(settings, backend)
    collections = backend.aggregates(
        "collections",
        CollectionCodec(),
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
    models = _models(settings, backend)
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
    use_cases = _use_cases(collections, ledger, models, indexes.enqueue)
    record = RecordDocument(collections=collections, ledger=ledger, enqueue=indexes.enqueue)
    return backend.app(
        servicers=[
            (add_CollectionServiceServicer_to_server, GrpcCollectionService(use_cases)),
            (add_RetrievalServiceServicer_to_server, GrpcRetrievalService(search)),
        ],
        consumers=[documents(record)],
        components=_holds(settings, backend),
        workers=[indexes, Worker("stale_points", stale.run)],
    )


def _models(settings: RagSettings, backend: Backend) -> TrainerModels:
    reading = BoundedProcesses(_limits(settings, cpu_s=settings.tokenizer_cpu_s), "tokenizing", prepare)
    cutting = BoundedProcesses(_limits(settings, cpu_s=settings.cutting_cpu_s), "cutting", prepare)
    backend.on_stop(reading.stop)
    backend.on_stop(cutting.stop)
    bucket = backend.bucket(settings.trainer_bucket)
    return TrainerModels(
        backend.channel("trainer", settings.trainer_address),
        artifacts=ArtifactCache(settings.data_dir / "models", bucket),
        bucket=bucket,
        max_loaded=settings.models_loaded,
        max_bytes=settings.models_bytes,
        tokenizers=Tokenizers(reading=BoundedTokenizers(reading), cutting=BoundedTokenizers(cutting)),
        open_model=partial(
            TransformersEmbedding,
            threads=settings.embedding_threads or os.cpu_count() or 1,
            numeric_format=computed_format(settings.numeric_format),
        ),
    )


def _limits(settings: RagSettings, *, cpu_s: float) -> ProcessLimits:
    return ProcessLimits(
        workers=settings.tokenizer_workers,
        cpu_s=cpu_s,
        wall_s=10 * cpu_s,
        memory_bytes=settings.tokenizer_memory_mb * 1024**2,
        share=max(1, settings.tokenizer_workers // 2),
        waiting=settings.tokenizers_waiting,
    )


def _vectors(settings: RagSettings, backend: Backend) -> VectorStore:
    vectors: VectorStore
    if settings.vector_store == "server":
        # Imported only if used: the client adds seconds to every start, and 60 MB.
        from qdrant_client import AsyncQdrantClient  # noqa: PLC0415

        from tidemill_rag.vectors.server import QdrantServerVectors  # noqa: PLC0415

        key = settings.qdrant_api_key.get_secret_value() or None
        vectors = QdrantServerVectors(AsyncQdrantClient(url=settings.qdrant_url, api_key=key))
    else:
        vectors = QdrantEdgeVectors(settings.data_dir / "vectors", max_open=settings.max_open_indexes)
    backend.on_stop(vectors.close)
    backend.dependencies.append(Dependency(name="vectors", probe=vectors.ping))
    return vectors


def _holds(settings: RagSettings, backend: Backend) -> list[EdgeHold]:
    if settings.vector_store == "server":
        return []
    ttl = timedelta(seconds=settings.lease_ttl_s)
    return [EdgeHold(backend.database["store_holds"], settings.data_dir / "vectors", ttl=ttl, clock=SystemClock())]


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


def _use_cases(collections: Collections, ledger: MongoLedger, models: TrainerModels, enqueue: Enqueue) -> UseCases:
    clock, resolve = SystemClock(), ResolveSettings(models=models)
    return UseCases(
        create=CreateCollection(collections=collections, resolve=resolve, clock=clock, enqueue=enqueue),
        read=ReadCollections(collections=collections, ledger=ledger),
        update=UpdateCollection(collections=collections, resolve=resolve, clock=clock, enqueue=enqueue),
        delete=DeleteCollection(collections=collections, clock=clock, enqueue=enqueue),
        rebuild=RebuildIndex(collections=collections, models=models, clock=clock, enqueue=enqueue),
    )
