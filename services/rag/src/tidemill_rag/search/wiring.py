"""Puts together what searches."""

from tidemill_kit.access.grants import Shared
from tidemill_kit.service.backend import Backend
from tidemill_rag.collections.ports import Collections
from tidemill_rag.embedding.ports import EmbeddingModels, Rerankers, SparseEmbedding
from tidemill_rag.indexing.ports import Ledger
from tidemill_rag.search.grpc import GrpcRetrievalService
from tidemill_rag.search.neighbours import Neighbours
from tidemill_rag.search.reconcile import StalePoints
from tidemill_rag.search.rerank import RerankMatches
from tidemill_rag.search.search import Search
from tidemill_rag.search.search_collection import SearchCollection
from tidemill_rag.settings import RagSettings
from tidemill_rag.vectors.ports import VectorStore


def wire_search(  # noqa: PLR0913 - what searches share with other features
    settings: RagSettings,
    backend: Backend,
    *,
    collections: Collections,
    ledger: Ledger,
    vectors: VectorStore,
    models: EmbeddingModels,
    rerankers: Rerankers,
    sparse: SparseEmbedding,
    stale: StalePoints,
) -> GrpcRetrievalService:
    """Return the service; what it finds to be out of date goes to `stale`."""
    search = Search(
        one=SearchCollection(
            collections=collections,
            ledger=ledger,
            vectors=vectors,
            neighbours=Neighbours(vectors=vectors),
            rerank=RerankMatches(rerankers=rerankers, timeout_s=settings.rerank_timeout_s),
            models=models,
            sparse=sparse,
            sweep=stale.enqueue,
            shared=backend.shared(Shared.COLLECTION),
        ),
        max_characters=settings.max_query_characters,
    )
    return GrpcRetrievalService(search=search)
