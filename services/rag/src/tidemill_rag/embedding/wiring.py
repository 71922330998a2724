"""Puts embedding models and rerankers together."""

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog

from tidemill_core.errors import isolated
from tidemill_kit.models.artifacts import ArtifactCache
from tidemill_kit.models.bounded_tokenizers import IMPORTS, BoundedTokenizers
from tidemill_kit.models.numeric_format import NumericFormat, computed_format
from tidemill_kit.service.backend import Backend
from tidemill_kit.workers.bounded_processes import BoundedProcesses, ProcessLimits
from tidemill_rag.embedding.batched import BatchedEmbedding
from tidemill_rag.embedding.config import EmbeddingConfig
from tidemill_rag.embedding.cross_encoder import TransformersReranker
from tidemill_rag.embedding.exports import Exports, discard, weight_bits
from tidemill_rag.embedding.onnx_runtime import OnnxEmbedding
from tidemill_rag.embedding.registry import RegistryModels
from tidemill_rag.embedding.thread import EmbeddingThreads
from tidemill_rag.embedding.tokenizer import EmbeddingTokenizer, Tokenizers
from tidemill_rag.embedding.trainer import TrainerModels, TrainerRerankers
from tidemill_rag.embedding.transformers import TransformersEmbedding
from tidemill_rag.errors import GraphMissing
from tidemill_rag.settings import RagSettings

_MAX_PASSES = 8
"""Forward passes at once. Beyond, each gets more threads: Python's share of a pass is about a tenth of it."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """The models of trainer's registry."""

    embedding: TrainerModels
    rerankers: TrainerRerankers


def wire_embedding(settings: RagSettings, backend: Backend) -> Models:
    """Put the models together, which share tokenizers, threads and memory."""
    reading = BoundedProcesses(_limits(settings, cpu_s=settings.tokenizer_cpu_s), "tokenizing", IMPORTS)
    cutting = BoundedProcesses(_limits(settings, cpu_s=settings.cutting_cpu_s), "cutting", IMPORTS)
    backend.on_stop(reading.stop)
    backend.on_stop(cutting.stop)
    # Threads that share a pass wait for each other at each layer, on a busy machine for longer than they compute.
    threads = settings.embedding_threads or os.cpu_count() or 1
    passes = min(threads, _MAX_PASSES)
    bucket = backend.bucket(settings.trainer_bucket)
    registry = RegistryModels(
        backend.channel("trainer", settings.trainer_address),
        artifacts=ArtifactCache(settings.data_dir / "models", bucket),
        bucket=bucket,
        max_loaded=settings.models_loaded,
        max_bytes=settings.models_bytes,
        threads=EmbeddingThreads(passes),
    )
    share = cutting.limits.share or cutting.limits.workers
    tokenizers = Tokenizers(reading=BoundedTokenizers(reading), cutting=BoundedTokenizers(cutting), share=share)
    per_pass, numeric_format = threads // passes, computed_format(settings.numeric_format)
    return Models(
        embedding=TrainerModels(
            registry=registry,
            tokenizers=tokenizers,
            exports=_exports(settings, backend),
            quantizes=settings.embedding_quantization == "int8",
            open_model=partial(opened_embedding, threads_per_pass=per_pass, numeric_format=numeric_format),
        ),
        rerankers=TrainerRerankers(
            registry=registry,
            tokenizers=tokenizers,
            open_model=partial(TransformersReranker, threads_per_pass=per_pass, numeric_format=numeric_format),
        ),
    )


def opened_embedding(  # noqa: PLR0913 - what a model is made of
    folder: Path,
    graph: Path | None,
    threads: EmbeddingThreads,
    tokenizer: EmbeddingTokenizer,
    config: EmbeddingConfig,
    *,
    threads_per_pass: int,
    numeric_format: NumericFormat,
) -> BatchedEmbedding:
    """Load a model by its graph, or from its folder where it is to have none. Blocks: call it on an embedding thread.

    Raises:
        GraphMissing: the graph cannot be read. It is removed, and the next load makes it anew.

    """
    if graph:
        try:
            with isolated():
                return OnnxEmbedding(graph, threads, tokenizer, config, threads_per_pass=threads_per_pass)
        except Exception as error:  # of a damaged file, ONNX Runtime raises many kinds
            _log.warning("embedding_graph_unreadable", graph=graph.name, why=type(error).__name__)
            discard(graph)
            raise GraphMissing(graph.name, "cannot be read, and is made anew by the next load", passing=True) from error
    return TransformersEmbedding(
        folder, threads, tokenizer, config, threads_per_pass=threads_per_pass, numeric_format=numeric_format
    )


def _exports(settings: RagSettings, backend: Backend) -> Exports:
    limits = ProcessLimits(
        workers=1,
        cpu_s=settings.export_cpu_s,
        wall_s=2 * settings.export_cpu_s,
        memory_bytes=settings.export_memory_mb * 1024**2,
    )
    processes = BoundedProcesses(limits, "exporting")
    backend.on_stop(processes.stop)
    return Exports(processes, weight_bits())


def _limits(settings: RagSettings, *, cpu_s: float) -> ProcessLimits:
    return ProcessLimits(
        workers=settings.tokenizer_workers,
        cpu_s=cpu_s,
        wall_s=10 * cpu_s,
        memory_bytes=settings.tokenizer_memory_mb * 1024**2,
        share=max(1, settings.tokenizer_workers // 2),
        waiting=settings.tokenizers_waiting,
    )
