"""The composition root: the only module that imports both adapters and entry points."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from uuid import uuid4

import grpc

from tidemill.rag.v1.collection_service_pb2_grpc import add_CollectionServiceServicer_to_server
from tidemill.rag.v1.retrieval_service_pb2_grpc import add_RetrievalServiceServicer_to_server
from tidemill_core.application import SystemClock
from tidemill_core.grpc.client import open_channel
from tidemill_kit.events.kafka import Consumers, Publisher
from tidemill_kit.events.relay import Relay
from tidemill_kit.models.artifacts import ArtifactCache
from tidemill_kit.models.bounded_tokenizers import BoundedTokenizers, prepare
from tidemill_kit.models.numeric_format import computed_format
from tidemill_kit.service.app import App, Dependency, Worker
from tidemill_kit.store import mongo
from tidemill_kit.store.aggregates import MongoAggregates
from tidemill_kit.store.objects import ExchangeBucket, ObjectStore
from tidemill_kit.workers.bounded_processes import BoundedProcesses, ProcessLimits
from tidemill_kit.workers.leases import Leases
from tidemill_rag.adapters.edge_hold import EdgeHold
from tidemill_rag.adapters.embedding_tokenizer import Tokenizers
from tidemill_rag.adapters.ingest_documents import ExchangeContents, IngestCatalog
from tidemill_rag.adapters.mongo_collections import CollectionCodec, MongoIndexes, MongoIndexLeases
from tidemill_rag.adapters.mongo_ledger import MongoLedger
from tidemill_rag.adapters.qdrant_edge_vectors import QdrantEdgeVectors
from tidemill_rag.adapters.trainer_models import TrainerModels
from tidemill_rag.adapters.transformers_embedding import TransformersEmbedding
from tidemill_rag.application.compare_points import ComparePoints
from tidemill_rag.application.create_collection import CreateCollection
from tidemill_rag.application.delete_collection import DeleteCollection
from tidemill_rag.application.index_documents import BatchLimits, IndexDocuments
from tidemill_rag.application.ports import VectorStore
from tidemill_rag.application.read_collections import ReadCollections
from tidemill_rag.application.rebuild_index import RebuildIndex
from tidemill_rag.application.reconcile_index import ReconcileIndex
from tidemill_rag.application.record_document import RecordDocument
from tidemill_rag.application.resolve_settings import ResolveSettings
from tidemill_rag.application.search import Search
from tidemill_rag.application.update_collection import UpdateCollection
from tidemill_rag.domain.collection import Collection
from tidemill_rag.domain.errors import CollectionNotFound
from tidemill_rag.entrypoints.grpc_collection_service import GrpcCollectionService, UseCases
from tidemill_rag.entrypoints.grpc_retrieval_service import GrpcRetrievalService
from tidemill_rag.entrypoints.kafka_documents import documents
from tidemill_rag.entrypoints.workers import IndexWorker
from tidemill_rag.settings import RagSettings

SOURCE = "/tidemill/rag"
INDEX_TOPIC = "tidemill.rag.index.v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapters:
    """The adapters and the clients that they use."""

    database: mongo.Database
    publisher: Publisher
    relay: Relay
    store: ObjectStore
    ingest: grpc.aio.Channel
    trainer: grpc.aio.Channel
    collections: MongoAggregates[Collection]
    ledger: MongoLedger
    indexes: MongoIndexes
    vectors: VectorStore
    models: TrainerModels
    contents: ExchangeContents
    processes: Sequence[BoundedProcesses]


async def build_app(settings: RagSettings) -> App:
    """Build rag on the running event loop. Nothing is connected yet."""
    adapters = _adapters(settings)
    worker = _worker(settings, adapters)
    reconcile = _reconcile(settings, adapters)
    record = RecordDocument(collections=adapters.collections, ledger=adapters.ledger, enqueue=worker.enqueue)
    consumers = Consumers(settings.kafka, [documents(record)], adapters.publisher)
    client = adapters.database.client
    return App(
        settings=settings,
        servicers=[
            (add_CollectionServiceServicer_to_server, GrpcCollectionService(_use_cases(adapters, worker))),
            (add_RetrievalServiceServicer_to_server, GrpcRetrievalService(_search(settings, adapters, worker))),
        ],
        dependencies=[
            Dependency(name="mongodb", probe=lambda: mongo.ping(client)),
            Dependency(name="s3", probe=adapters.store.ping, needed_to_serve=False),
            Dependency(name="kafka", probe=adapters.publisher.ping, needed_to_serve=False),
            Dependency(name="vectors", probe=adapters.vectors.ping),
        ],
        components=[
            Stores(adapters),
            *_holds(settings, adapters.database),
            adapters.publisher,
            adapters.relay,
            Worker("indexes", lambda: worker.run(reconcile)),
            consumers,
        ],
        consumers=consumers.status,
        outbox_length=adapters.relay.outbox_length,
    )


class Stores:
    """Prepares the databases at start, and closes clients and stores at the end."""

    def __init__(self, adapters: Adapters) -> None:
        self._adapters = adapters

    async def start(self) -> None:
        """Create the MongoDB indexes; idempotent."""
        await self._adapters.collections.ensure_indexes()
        await self._adapters.ledger.ensure_indexes()
        await self._adapters.indexes.ensure_indexes()

    async def stop(self) -> None:
        """Close clients and stores, after the components that use them."""
        for processes in self._adapters.processes:
            await processes.stop()
        await self._adapters.vectors.close()
        await self._adapters.ingest.close()
        await self._adapters.trainer.close()
        self._adapters.database.client.close()


def _adapters(settings: RagSettings) -> Adapters:
    database = mongo.connect(settings.mongo_uri, timeout_s=settings.dependency_timeout_s)[settings.mongo_database]
    publisher = Publisher(settings.kafka)
    collections = database["collections"]
    relay = Relay([collections], publisher)
    store = ObjectStore(
        settings.s3_endpoint,
        settings.s3_access_key,
        settings.s3_secret_key.get_secret_value(),
        secure=settings.s3_secure,
        max_concurrent=settings.s3_max_concurrent,
    )
    models_bucket = ExchangeBucket(store, settings.trainer_bucket)
    trainer = open_channel(settings.trainer_address, name="trainer", tls=settings.tls)
    processes = (
        BoundedProcesses(_limits(settings, cpu_s=settings.tokenizer_cpu_s), "tokenizing", prepare),
        BoundedProcesses(_limits(settings, cpu_s=settings.cutting_cpu_s), "cutting", prepare),
    )
    return Adapters(
        database=database,
        publisher=publisher,
        relay=relay,
        store=store,
        ingest=open_channel(settings.ingest_address, name="ingest", tls=settings.tls),
        trainer=trainer,
        collections=MongoAggregates(
            collections,
            codec=CollectionCodec(),
            topic=INDEX_TOPIC,
            source=SOURCE,
            missing=CollectionNotFound,
            enqueue=relay.enqueuer(collections),
            quota=settings.quota("collections"),
        ),
        ledger=MongoLedger(
            database["ledger"],
            database["ledger_counts"],
            large_bytes=settings.large_document_bytes,
            count_s=settings.count_s,
        ),
        indexes=MongoIndexes(collections, database["ledger_counts"]),
        vectors=_vectors(settings),
        models=TrainerModels(
            trainer,
            artifacts=ArtifactCache(settings.data_dir / "models", models_bucket),
            bucket=models_bucket,
            max_loaded=settings.models_loaded,
            max_bytes=settings.models_bytes,
            tokenizers=Tokenizers(reading=BoundedTokenizers(processes[0]), cutting=BoundedTokenizers(processes[1])),
            open_model=partial(
                TransformersEmbedding,
                threads=settings.embedding_threads or os.cpu_count() or 1,
                numeric_format=computed_format(settings.numeric_format),
            ),
        ),
        contents=ExchangeContents(ExchangeBucket(store, settings.ingest_bucket)),
        processes=processes,
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


def _vectors(settings: RagSettings) -> VectorStore:
    if settings.vector_store == "server":
        # Imported only if used: the client adds seconds to every start, and 60 MB.
        from qdrant_client import AsyncQdrantClient  # noqa: PLC0415

        from tidemill_rag.adapters.qdrant_server_vectors import QdrantServerVectors  # noqa: PLC0415

        return QdrantServerVectors(
            AsyncQdrantClient(url=settings.qdrant_url, api_key=settings.qdrant_api_key.get_secret_value() or None)
        )
    return QdrantEdgeVectors(settings.data_dir / "vectors", max_open=settings.max_open_indexes)


def _holds(settings: RagSettings, database: mongo.Database) -> list[EdgeHold]:
    if settings.vector_store == "server":
        return []
    ttl = timedelta(seconds=settings.lease_s)
    return [EdgeHold(database["store_holds"], settings.data_dir / "vectors", ttl=ttl, clock=SystemClock())]


def _worker(settings: RagSettings, adapters: Adapters) -> IndexWorker:
    leases = Leases(
        adapters.database["index_leases"],
        owner=str(uuid4()),
        ttl=timedelta(seconds=settings.lease_s),
        clock=SystemClock(),
        removable=True,
    )
    return IndexWorker(
        indexes=adapters.indexes,
        leases=MongoIndexLeases(leases),
        vectors=adapters.vectors,
        max_concurrent=settings.max_concurrent_indexes,
        poll_interval_s=settings.poll_interval_s,
    )


def _reconcile(settings: RagSettings, adapters: Adapters) -> ReconcileIndex:
    return ReconcileIndex(
        collections=adapters.collections,
        ledger=adapters.ledger,
        vectors=adapters.vectors,
        catalog=IngestCatalog(adapters.ingest),
        models=adapters.models,
        index_documents=IndexDocuments(
            ledger=adapters.ledger,
            contents=adapters.contents,
            models=adapters.models,
            vectors=adapters.vectors,
            limits=BatchLimits(),
        ),
        compare_points=ComparePoints(ledger=adapters.ledger, vectors=adapters.vectors),
        clock=SystemClock(),
        sweep_after=timedelta(seconds=settings.sweep_after_s),
    )


def _search(settings: RagSettings, adapters: Adapters, worker: IndexWorker) -> Search:
    return Search(
        collections=adapters.collections,
        ledger=adapters.ledger,
        vectors=adapters.vectors,
        models=adapters.models,
        sweep=worker.sweep,
        max_characters=settings.max_query_characters,
    )


def _use_cases(adapters: Adapters, worker: IndexWorker) -> UseCases:
    clock, resolve = SystemClock(), ResolveSettings(models=adapters.models)
    collections, enqueue = adapters.collections, worker.enqueue
    return UseCases(
        create=CreateCollection(collections=collections, resolve=resolve, clock=clock, enqueue=enqueue),
        read=ReadCollections(collections=collections, ledger=adapters.ledger),
        update=UpdateCollection(collections=collections, resolve=resolve, clock=clock, enqueue=enqueue),
        delete=DeleteCollection(collections=collections, clock=clock, enqueue=enqueue),
        rebuild=RebuildIndex(collections=collections, models=adapters.models, clock=clock, enqueue=enqueue),
    )
