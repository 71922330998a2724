"""What rag counts and measures beside the metrics of every service."""

from prometheus_client import Counter, Gauge, Histogram

GRAPH_BUILDS = Counter("tidemill_rag_graph_builds", "Builds of graph indexes, by outcome.", ["outcome"])
GRAPH_BUILDING = Gauge("tidemill_rag_graph_building_chunks", "Passages of which a graph index is being built now.")
RERANK_SECONDS = Histogram(
    "tidemill_rag_rerank_seconds", "Time to rerank the candidates of a search, by outcome.", ["outcome"]
)
EMBEDDING_MODELS = Counter(
    "tidemill_rag_embedding_models_loaded", "Embedding models that were loaded, by what computes them.", ["runtime"]
)
