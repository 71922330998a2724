"""The process that builds the graph of a copied shard.

Its arguments: folder, dimensions, 1 for a graph or 0 for none, and the id of its parent. It runs at the lowest
priority, on half of the cores, and ends when its parent ends.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path

from qdrant_edge import Distance, EdgeConfig, EdgeOptimizersConfig, EdgeShard, EdgeVectorParams, HnswIndexConfig

from tidemill_rag.vectors.edge_vectors import has_graph
from tidemill_rag.vectors.graph import CHANGES, FULL_SCAN_KB, HNSW_EF_CONSTRUCT, HNSW_M, NO_GRAPH_KB

_LOWEST_PRIORITY = 19
_PR_SET_PDEATHSIG = 1
"""Linux prctl(2). A watching thread would not do: the engine holds the GIL."""


def main(folder: str, dimensions: str, graph: str, parent: str) -> int:
    """Build at the lowest priority, unless the parent is gone; return 0 once it is done."""
    os.nice(_LOWEST_PRIORITY)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(parent):
        return 1
    return 0 if build(folder, int(dimensions), graph=graph == "1") else 1


def build(folder: str, dimensions: int, *, graph: bool) -> bool:
    """Build the graph, or without one remove the deleted points; return whether that is what the folder now has."""
    config = EdgeConfig(
        vectors=EdgeVectorParams(size=dimensions, distance=Distance.Cosine),
        hnsw_config=HnswIndexConfig(
            m=HNSW_M,
            ef_construct=HNSW_EF_CONSTRUCT,
            full_scan_threshold=FULL_SCAN_KB,
            max_indexing_threads=max((os.cpu_count() or 1) // 2, 1),
        ),
        optimizers=EdgeOptimizersConfig(
            indexing_threshold=1 if graph else NO_GRAPH_KB, default_segment_number=1, max_segment_size=NO_GRAPH_KB
        ),
    )
    shard = EdgeShard.load(folder, config)
    shard.optimize()
    shard.flush()
    built = has_graph(shard)
    shard.close()
    if built:
        Path(folder, CHANGES).write_text("0", encoding="ascii")
    return built == graph


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
