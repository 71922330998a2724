"""Embedding models and rerankers out of the trainer's registry."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import ClassVar

from cachetools import LRUCache

from tidemill_core.application import Caller
from tidemill_core.models.manifest import ArtifactRefused
from tidemill_rag.embedding.batched import BatchedEmbedding
from tidemill_rag.embedding.config import CONFIG_FILES, EmbeddingConfig
from tidemill_rag.embedding.cross_encoder import CrossEncoderConfig, TransformersReranker
from tidemill_rag.embedding.exports import Exports
from tidemill_rag.embedding.ports import ResolvedModel
from tidemill_rag.embedding.registry import RegistryModels
from tidemill_rag.embedding.thread import EmbeddingThreads
from tidemill_rag.embedding.tokenizer import EmbeddingTokenizer, PairTokenizer, Tokenizers
from tidemill_rag.errors import EmbeddingUnusable, GraphMissing, ModelUnusable, RerankerUnusable
from tidemill_rag.metrics import EMBEDDING_MODELS

_MAX_WITHOUT = 1000
"""Remembered models without a form of 8 bits, over all projects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainerModels:
    """Implements `ports.EmbeddingModels`."""

    registry: RegistryModels
    tokenizers: Tokenizers
    exports: Exports
    quantizes: bool
    """Whether what has no form yet is to have weights of 8 bits."""
    open_model: Callable[[Path, Path | None, EmbeddingThreads, EmbeddingTokenizer, EmbeddingConfig], BatchedEmbedding]
    """Takes the folder and the graph."""
    _without: LRUCache[tuple[str, str], None] = field(default_factory=lambda: LRUCache(_MAX_WITHOUT))
    """Models by project that have no form of 8 bits here."""

    async def resolve(self, caller: Caller, reference: str) -> ResolvedModel:
        """See `EmbeddingModels.resolve`."""
        version = await self.registry.version(caller, reference, unusable=EmbeddingUnusable)
        files = await self.registry.files(version, CONFIG_FILES)
        return ResolvedModel(
            reference=version.id, max_tokens=EmbeddingConfig.read(files).max_tokens, quantizes=self.quantizes
        )

    async def load(self, caller: Caller, resolved: str, *, quantized: bool | None = None) -> BatchedEmbedding:
        """See `EmbeddingModels.load`."""
        by_graph, plain = _Embedding(self, exports=self.exports), _Embedding(self, exports=None)
        if quantized is not None:
            return await self.registry.load(caller, resolved, by_graph if quantized else plain)
        model = (caller.project, resolved)
        if self.quantizes and model not in self._without:
            try:
                return await self.registry.load(caller, resolved, by_graph)
            except GraphMissing as missing:
                if missing.passing:
                    raise
                self._without[model] = None
        return await self.registry.load(caller, resolved, plain)


@dataclass(frozen=True, slots=True)
class _Embedding:
    """What the registry loads of an embedding model: its graph, or the model as it is."""

    unusable: ClassVar[type[ModelUnusable]] = EmbeddingUnusable

    models: TrainerModels
    exports: Exports | None

    @property
    def name(self) -> str:
        """See `registry.Kind.name`."""
        return "quantized embedding" if self.exports else "embedding"

    async def prepare(self, project: str, folder: Path, reference: str) -> Callable[[], BatchedEmbedding]:
        """See `registry.Kind.prepare`."""
        config = await asyncio.to_thread(EmbeddingConfig.of, folder)
        tokenizer = await EmbeddingTokenizer.open(
            self.models.tokenizers, project, folder, prompt=config.passage_prompt, name=reference
        )
        graph = await self.exports.graph_of(project, folder, reference) if self.exports else None
        EMBEDDING_MODELS.labels(runtime="onnx" if graph else "torch").inc()
        return partial(self.models.open_model, folder, graph, self.models.registry.threads, tokenizer, config)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainerRerankers:
    """Implements `ports.Rerankers`, and is the kind that the registry loads for it."""

    name: ClassVar[str] = "reranker"
    unusable: ClassVar[type[ModelUnusable]] = RerankerUnusable

    registry: RegistryModels
    tokenizers: Tokenizers
    open_model: Callable[[Path, EmbeddingThreads, PairTokenizer, CrossEncoderConfig], TransformersReranker]

    async def check(self, caller: Caller, reference: str) -> None:
        """See `Rerankers.check`."""
        version = await self.registry.version(caller, reference, unusable=self.unusable)
        files = await self.registry.files(version, CONFIG_FILES[:1])
        try:
            CrossEncoderConfig.read(files[CONFIG_FILES[0]])
        except ArtifactRefused as refused:
            raise RerankerUnusable(version.id, f"is no cross-encoder: {refused}") from refused

    async def load(self, caller: Caller, reference: str) -> TransformersReranker:
        """See `Rerankers.load`."""
        return await self.registry.load(caller, reference, self)

    async def prepare(
        self,
        project: str,  # noqa: ARG002 - its tokenizer is read with the first texts
        folder: Path,
        reference: str,
    ) -> Callable[[], TransformersReranker]:
        """See `registry.Kind.prepare`."""
        config = await asyncio.to_thread(CrossEncoderConfig.of, folder)
        tokenizer = PairTokenizer(tokenizers=self.tokenizers, file=folder / "tokenizer.json", name=reference)
        return partial(self.open_model, folder, self.registry.threads, tokenizer, config)
