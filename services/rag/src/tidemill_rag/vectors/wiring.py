"""Puts the vector store together."""

from datetime import timedelta

from tidemill_core.application import SystemClock
from tidemill_kit.service.app import Dependency
from tidemill_kit.service.backend import Backend
from tidemill_kit.workers.worker import Worker
from tidemill_rag.settings import RagSettings
from tidemill_rag.vectors.edge import QdrantEdgeVectors
from tidemill_rag.vectors.edge_hold import EdgeHold
from tidemill_rag.vectors.graph_builds import GraphBuilds
from tidemill_rag.vectors.ports import VectorStore


def wire_vectors(settings: RagSettings, backend: Backend) -> VectorStore:
    """Return the store that the settings choose."""
    vectors: VectorStore
    if settings.vector_store == "server":
        # Imported only if used: the client adds seconds to every start, and 60 MB.
        from qdrant_client import AsyncQdrantClient  # noqa: PLC0415

        from tidemill_rag.vectors.server import QdrantServerVectors  # noqa: PLC0415

        key = settings.qdrant_api_key.get_secret_value() or None
        client = AsyncQdrantClient(url=settings.qdrant_url, api_key=key)
        vectors = QdrantServerVectors(client, graph_min_chunks=settings.graph_min_chunks)
    else:
        vectors = QdrantEdgeVectors(settings.data_dir / "vectors", max_open=settings.max_open_indexes)
    backend.on_stop(vectors.close)
    backend.dependencies.append(Dependency(name="vectors", probe=vectors.ping))
    return vectors


def graph_builds(settings: RagSettings, vectors: VectorStore) -> list[Worker]:
    """Return the builder of graphs for the embedded store; a server builds its own."""
    if not settings.graph_min_chunks or not isinstance(vectors, QdrantEdgeVectors):
        return []
    return [Worker("graph_builds", GraphBuilds(vectors, min_chunks=settings.graph_min_chunks).run)]


def edge_holds(settings: RagSettings, backend: Backend) -> list[EdgeHold]:
    """Return the lock on the directory of the embedded store, where it is used."""
    if settings.vector_store == "server":
        return []
    ttl = timedelta(seconds=settings.lease_ttl_s)
    return [EdgeHold(backend.database["store_holds"], settings.data_dir / "vectors", ttl=ttl, clock=SystemClock())]
