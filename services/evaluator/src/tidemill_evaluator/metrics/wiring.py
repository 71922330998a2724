"""Wires the metrics: what computes them, and the registry that knows all of them."""

from collections.abc import Sequence

from tidemill_evaluator.metrics.code_metrics import CodeMetrics
from tidemill_evaluator.metrics.code_sandbox import CodeSandbox
from tidemill_evaluator.metrics.embedding_metrics import EmbeddingMetrics
from tidemill_evaluator.metrics.library_metrics import LibraryMetrics
from tidemill_evaluator.metrics.own import OwnMetrics
from tidemill_evaluator.metrics.ports import MetricFamily
from tidemill_evaluator.metrics.rag import RagEmbedder
from tidemill_evaluator.metrics.registry import Registry
from tidemill_evaluator.metrics.text_vectors import TextVectors
from tidemill_evaluator.settings import EvaluatorSettings
from tidemill_evaluator.suites.ports import Processes
from tidemill_kit.service.backend import Backend
from tidemill_kit.workers.fair_share import Turns


def wire_metrics(
    settings: EvaluatorSettings,
    backend: Backend,
    processes: Processes,
    *,
    turns: Turns,
    others: Sequence[MetricFamily],
) -> Registry:
    """Return the metrics of this feature with those of `others`; scores take these turns beside the event loop."""
    rag = backend.channel("rag", settings.rag_address, timeout_s=settings.call_timeout_s)
    embedder = RagEmbedder(rag, timeout_s=settings.answer_timeout_s)
    embeddings = EmbeddingMetrics(
        embedder=embedder,
        matcher=embedder,
        vectors=TextVectors(embedder=embedder),
        turns=turns,
        max_sentences=settings.max_embedded_sentences,
    )
    places = Turns(
        settings.max_concurrent_scores
    )  # of its own: a program holds one for seconds, or a minute under load
    code = CodeMetrics(CodeSandbox(turns=places, limits=settings.code_limits) if settings.run_code else None)
    return Registry(families=(OwnMetrics(turns), LibraryMetrics(processes), code, embeddings, *others))
