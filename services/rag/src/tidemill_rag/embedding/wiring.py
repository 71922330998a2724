"""Puts the embedding models together."""

import os
from functools import partial

from tidemill_kit.models.artifacts import ArtifactCache
from tidemill_kit.models.bounded_tokenizers import IMPORTS, BoundedTokenizers
from tidemill_kit.models.numeric_format import computed_format
from tidemill_kit.service.backend import Backend
from tidemill_kit.workers.bounded_processes import BoundedProcesses, ProcessLimits
from tidemill_rag.embedding.thread import EmbeddingThreads
from tidemill_rag.embedding.tokenizer import Tokenizers
from tidemill_rag.embedding.trainer import TrainerModels
from tidemill_rag.embedding.transformers import TransformersEmbedding
from tidemill_rag.settings import RagSettings

_MAX_PASSES = 8
"""Forward passes at once. Beyond, each gets more threads: Python's share of a pass is about a tenth of it."""


def wire_embedding(settings: RagSettings, backend: Backend) -> TrainerModels:
    """Return the models of trainer's registry."""
    reading = BoundedProcesses(_limits(settings, cpu_s=settings.tokenizer_cpu_s), "tokenizing", IMPORTS)
    cutting = BoundedProcesses(_limits(settings, cpu_s=settings.cutting_cpu_s), "cutting", IMPORTS)
    backend.on_stop(reading.stop)
    backend.on_stop(cutting.stop)
    # Threads that share a pass wait for each other at each layer, on a busy machine for longer than they compute.
    threads = settings.embedding_threads or os.cpu_count() or 1
    passes = min(threads, _MAX_PASSES)
    bucket = backend.bucket(settings.trainer_bucket)
    return TrainerModels(
        backend.channel("trainer", settings.trainer_address),
        artifacts=ArtifactCache(settings.data_dir / "models", bucket),
        bucket=bucket,
        max_loaded=settings.models_loaded,
        max_bytes=settings.models_bytes,
        tokenizers=Tokenizers(reading=BoundedTokenizers(reading), cutting=BoundedTokenizers(cutting)),
        threads=EmbeddingThreads(passes),
        open_model=partial(
            TransformersEmbedding,
            threads_per_pass=threads // passes,
            numeric_format=computed_format(settings.numeric_format),
        ),
    )


def _limits(settings: RagSettings, *, cpu_s: float) -> ProcessLimits:
    return ProcessLimits(
        workers=settings.tokenizer_workers,
        cpu_s=cpu_s,
        wall_s=10 * cpu_s,
        memory_bytes=settings.tokenizer_memory_mb * 1024**2,
        share=max(1, settings.tokenizer_workers // 2),
        waiting=settings.tokenizers_waiting,
    )
