"""The composition root: the only module that imports both adapters and entry points."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from tidemill.rag.v1.collection_service_pb2_grpc import add_CollectionServiceServicer_to_server
from tidemill.rag.v1.retrieval_service_pb2_grpc import add_RetrievalServiceServicer_to_server
from tidemill_core.application import SystemClock
from tidemill_kit.access.access import Access
from tidemill_kit.access.grants import Shared, SharedNames
from tidemill_kit.service.app import App, Worker
from tidemill_kit.service.backend import Backend
from tidemill_kit.workers.controller import Controller
from tidemill_rag.collections.crud import CollectionCrud
from tidemill_rag.collections.domain import IndexRef
from tidemill_rag.collections.erase_project import EraseProject
from tidemill_rag.collections.events import access
from tidemill_rag.collections.grpc import GrpcCollectionService
from tidemill_rag.collections.mongo import COLLECTIONS
from tidemill_rag.collections.ports import Collections, Enqueue
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
from tidemill_rag.vectors.wiring import edge_holds, graph_builds, wire_vectors


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the features share."""

    collections: Collections
    ledger: MongoLedger
    vectors: VectorStore
    models: TrainerModels


async def build_app(settings: RagSettings) -> App:
    """Build rag on the running event loop; nothing connects before `start`."""
    backend = Backend(settings, serves_without_objects=True)
    parts = _parts(settings, backend)
    indexes, stale = _indexes(settings, backend, parts), StalePoints(parts.vectors)
    record = RecordDocument(collections=parts.collections, ledger=parts.ledger, enqueue=indexes.enqueue)
    erase = EraseProject(
        collections=parts.collections, clock=SystemClock(), enqueue=indexes.enqueue, pause=asyncio.sleep
    )
    return backend.app(
        servicers=[
            (add_CollectionServiceServicer_to_server, _collection_service(parts, indexes.enqueue)),
            (add_RetrievalServiceServicer_to_server, _retrieval_service(settings, parts, stale, backend.access)),
        ],
        consumers=[documents(record), access(erase)],
        components=edge_holds(settings, backend),
        workers=[indexes, Worker("stale_points", stale.run), *graph_builds(settings, parts.vectors)],
    )


def _parts(settings: RagSettings, backend: Backend) -> Parts:
    database = backend.database
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
                database["ledger"],
                database["ledger_counts"],
                large_bytes=settings.large_document_bytes,
                count_s=settings.count_s,
            )
        ),
        vectors=wire_vectors(settings, backend),
        models=wire_embedding(settings, backend),
    )


def _indexes(settings: RagSettings, backend: Backend, parts: Parts) -> Controller[IndexRef]:
    index_documents = IndexDocuments(
        ledger=parts.ledger,
        contents=ExchangeContents(backend.bucket(settings.ingest_bucket)),
        models=parts.models,
        vectors=parts.vectors,
        limits=BatchLimits(),
    )
    reconcile = ReconcileIndex(
        collections=parts.collections,
        ledger=parts.ledger,
        vectors=parts.vectors,
        catalog=IngestCatalog(backend.channel("ingest", settings.ingest_address)),
        models=parts.models,
        index_documents=index_documents,
        compare_points=ComparePoints(ledger=parts.ledger, vectors=parts.vectors),
        clock=SystemClock(),
        sweep_after=timedelta(seconds=settings.sweep_after_s),
    )
    return Controller(
        "indexes",
        reconcile=lambda index, epoch: reconcile(index, epoch=epoch),
        pending=backend.indexed(PendingIndexes(backend.database["collections"], backend.database["ledger_counts"])),
        leases=backend.leases("index_leases"),
        max_concurrent=settings.index_max_concurrent,
        poll_interval=timedelta(seconds=settings.index_poll_interval_s),
    )


def _collection_service(parts: Parts, enqueue: Enqueue) -> GrpcCollectionService:
    clock = SystemClock()
    crud = CollectionCrud(
        collections=parts.collections,
        ledger=parts.ledger,
        resolve=ResolveSettings(models=parts.models),
        clock=clock,
        enqueue=enqueue,
    )
    rebuild = RebuildIndex(collections=parts.collections, models=parts.models, clock=clock, enqueue=enqueue)
    return GrpcCollectionService(crud=crud, rebuild=rebuild)


def _retrieval_service(
    settings: RagSettings, parts: Parts, stale: StalePoints, access: Access | None
) -> GrpcRetrievalService:
    search = Search(
        collections=parts.collections,
        ledger=parts.ledger,
        vectors=parts.vectors,
        models=parts.models,
        sweep=stale.enqueue,
        max_characters=settings.max_query_characters,
        shared=SharedNames(access.grants if access else None, Shared.COLLECTION),
    )
    return GrpcRetrievalService(search=search)
