"""The graph index (HNSW) of large index versions: the same settings for both Qdrant adapters."""

HNSW_M, HNSW_EF_CONSTRUCT, HNSW_EF = 16, 200, 192
"""Links per point, candidates while building, candidates of a search (Malkov and Yashunin, 2016)."""
ACORN_MAX_SELECTIVITY = 1.0
"""Links of points that a filter excludes are followed to those that match (ACORN, Patel et al., 2024): without it,
recall@10 of a filter that matches a third of the passages is 0.93."""
FULL_SCAN_KB = 10_000
"""Filters that match fewer kilobytes of vectors are searched exactly: about 6,700 passages of 384 dimensions."""
CHANGES = "changes"
"""A file of a shard with a graph: how many points changed since that was built; a few are missing after a crash."""
NO_GRAPH_KB = 1_000_000_000
"""A threshold that no index version reaches."""

_FLOAT_BYTES = 4


def is_few(points: int, *, dimensions: int) -> bool:
    """Return whether so many points are searched exactly where a filter matches them alone."""
    return points * dimensions * _FLOAT_BYTES < FULL_SCAN_KB * 1024


def threshold_kb(min_chunks: int, *, dimensions: int) -> int:
    """Return the size of the vectors, in kilobytes, from which a graph is built; `min_chunks` 0 means never."""
    return max(min_chunks * dimensions * _FLOAT_BYTES // 1024, 1) if min_chunks else NO_GRAPH_KB
