"""Embedding models and rerankers out of the trainer's registry."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from tidemill_core.application import Caller
from tidemill_core.models.manifest import ArtifactRefused
from tidemill_rag.embedding.cross_encoder import CrossEncoderConfig, TransformersReranker
from tidemill_rag.embedding.ports import ResolvedModel
from tidemill_rag.embedding.registry import RegistryModels
from tidemill_rag.embedding.thread import EmbeddingThreads
from tidemill_rag.embedding.tokenizer import EmbeddingTokenizer, PairTokenizer, Tokenizers
from tidemill_rag.embedding.transformers import CONFIG_FILES, EmbeddingConfig, TransformersEmbedding
from tidemill_rag.errors import EmbeddingUnusable, ModelUnusable, RerankerUnusable


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainerModels:
    """Implements `ports.EmbeddingModels`, and is the kind that the registry loads for it."""

    name: ClassVar[str] = "embedding"
    unusable: ClassVar[type[ModelUnusable]] = EmbeddingUnusable

    registry: RegistryModels
    tokenizers: Tokenizers
    open_model: Callable[[Path, EmbeddingThreads, EmbeddingTokenizer, EmbeddingConfig], TransformersEmbedding]

    async def resolve(self, caller: Caller, reference: str) -> ResolvedModel:
        """See `EmbeddingModels.resolve`."""
        version = await self.registry.version(caller, reference, unusable=self.unusable)
        files = await self.registry.files(version, CONFIG_FILES)
        return ResolvedModel(reference=version.id, max_tokens=EmbeddingConfig.read(files).max_tokens)

    async def load(self, caller: Caller, resolved: str) -> TransformersEmbedding:
        """See `EmbeddingModels.load`."""
        return await self.registry.load(caller, resolved, self)

    async def prepare(self, project: str, folder: Path, reference: str) -> Callable[[], TransformersEmbedding]:
        """See `registry.Kind.prepare`."""
        config = await asyncio.to_thread(EmbeddingConfig.of, folder)
        tokenizer = await EmbeddingTokenizer.open(
            self.tokenizers, project, folder, prompt=config.passage_prompt, name=reference
        )
        return partial(self.open_model, folder, self.registry.threads, tokenizer, config)


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
