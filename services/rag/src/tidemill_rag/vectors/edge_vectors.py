"""Dense and sparse vectors in shards of the embedded engine."""

from typing import Final

from qdrant_edge import EdgeShard, EdgeSparseVectorParams, Modifier, ScrollRequest, SparseVector

from tidemill_rag.embedding import domain
from tidemill_rag.vectors.fusion import DENSE, SPARSE

SPARSE_VECTORS: Final = {SPARSE: EdgeSparseVectorParams(modifier=Modifier.Idf)}


Named = dict[str, list[float] | SparseVector | list[list[float]]]


def stored_vectors(dense: list[float], sparse: domain.SparseVector | None) -> list[float] | Named:
    """Return the vectors of a point."""
    return dense if sparse is None else {DENSE: dense, SPARSE: terms(sparse)}


def terms(vector: domain.SparseVector) -> SparseVector:
    """Return a sparse vector as the engine has it."""
    return SparseVector(list(vector.indices), list(vector.values))


def dense_of(vectors: object) -> list[float]:
    """Return the dense vector of those of a point."""
    dense = vectors[DENSE] if isinstance(vectors, dict) else vectors
    assert isinstance(dense, list)  # noqa: S101 - each point has one
    return dense


def has_sparse(shard: EdgeShard) -> bool:
    """Return whether the points of a shard have sparse vectors."""
    one, _ = shard.scroll(ScrollRequest(None, 1, with_payload=False, with_vector=True))
    return bool(one) and isinstance(one[0].vector, dict)


def has_graph(shard: EdgeShard) -> bool:
    """Return whether a shard that was just optimised has a graph; sparse vectors always count as indexed."""
    info = shard.info()
    return info.indexed_vectors_count > (info.points_count if has_sparse(shard) else 0)
