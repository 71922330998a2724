"""Puts indexing together."""

from datetime import timedelta

from tidemill_core.application import SystemClock
from tidemill_kit.service.backend import Backend
from tidemill_kit.workers.controller import Controller
from tidemill_kit.workers.leases import Leases
from tidemill_rag.collections.domain.collection import IndexRef
from tidemill_rag.collections.ports import Collections
from tidemill_rag.embedding.ports import EmbeddingModels, SparseEmbedding
from tidemill_rag.indexing.compare_points import ComparePoints
from tidemill_rag.indexing.index_documents import BatchLimits, IndexDocuments
from tidemill_rag.indexing.ingest import ExchangeContents, IngestCatalog
from tidemill_rag.indexing.pending import PendingIndexes
from tidemill_rag.indexing.ports import Ledger
from tidemill_rag.indexing.reconcile_index import ReconcileIndex
from tidemill_rag.settings import RagSettings
from tidemill_rag.vectors.ports import VectorStore


def wire_indexes(  # noqa: PLR0913 - what indexing works with
    settings: RagSettings,
    backend: Backend,
    *,
    collections: Collections,
    ledger: Ledger,
    vectors: VectorStore,
    models: EmbeddingModels,
    sparse: SparseEmbedding,
    leases: Leases,
) -> Controller[IndexRef]:
    """Return the controller of index versions."""
    index_documents = IndexDocuments(
        ledger=ledger,
        contents=ExchangeContents(backend.bucket(settings.ingest_bucket)),
        models=models,
        sparse=sparse,
        vectors=vectors,
        limits=BatchLimits(),
    )
    clock = SystemClock()
    pending = PendingIndexes(backend.database["collections"], backend.database["ledger_counts"], clock=clock)
    reconcile = ReconcileIndex(
        collections=collections,
        ledger=ledger,
        vectors=vectors,
        catalog=IngestCatalog(backend.channel("ingest", settings.ingest_address)),
        models=models,
        index_documents=index_documents,
        compare_points=ComparePoints(ledger=ledger, vectors=vectors),
        clock=clock,
        sweep_after=timedelta(seconds=settings.sweep_after_s),
        keep=settings.keep,
    )
    return Controller(
        "indexes",
        reconcile=lambda index, epoch: reconcile(index, epoch=epoch),
        pending=backend.indexed(pending),
        leases=leases,
        max_concurrent=settings.index_max_concurrent,
        poll_interval=timedelta(seconds=settings.index_poll_interval_s),
        deleted=backend.access.revocations.deleted,
    )
