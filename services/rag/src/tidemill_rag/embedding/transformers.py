"""Hugging Face sentence embedding models (MiniLM, BGE, E5, GTE) on the CPU."""

import json
import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tidemill_core.models.manifest import ArtifactRefused
from tidemill_kit.models.folders import checked_config, passed_on
from tidemill_kit.models.numeric_format import NumericFormat
from tidemill_kit.models.serving_imports import leave_out_training
from tidemill_rag.embedding.domain import MAX_TOKENS, MIN_KNOWN, MIN_TOKENS
from tidemill_rag.embedding.ports import EmbeddedText
from tidemill_rag.embedding.thread import EmbeddingThreads
from tidemill_rag.embedding.tokenizer import EmbeddingTokenizer
from tidemill_rag.errors import TextTooLong
from tidemill_rag.indexing.domain.chunking import Chunk, Cut
from tidemill_rag.indexing.domain.content import DocumentContent

Vectors = list[list[float]]

TOKENS_PER_BATCH = 1024
"""Tokens per forward pass, including padding; bounds how long a query waits. More are not faster."""
_REMEMBERED_QUESTIONS = 1024
_DEFAULT_LIMIT = 512
_MAX_PROMPT = 1000
"""Characters of a prompt, which precedes every text."""
_OF_LIBRARIES = {
    "GOMP_SPINCOUNT": "20000",
    "LRU_CACHE_CAPACITY": "32",
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "32",
}
"""OpenMP threads sleep soon: spinning slows down the other processes of a busy machine. Few kernels are kept:
nearly each batch has another size, and the thousand that torch keeps by default hold 150 MB.
"""
CONFIG_FILES = (
    "config.json",
    "sentence_bert_config.json",
    "1_Pooling/config.json",
    "config_sentence_transformers.json",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingConfig:
    """Settings in the files beside the weights."""

    max_tokens: int
    pooling: str
    query_prompt: str
    passage_prompt: str

    @classmethod
    def of(cls, folder: Path) -> "EmbeddingConfig":
        """Read the settings of a verified folder."""
        return cls.read({name: _read(folder / name) for name in CONFIG_FILES})

    @classmethod
    def read(cls, files: Mapping[str, bytes]) -> "EmbeddingConfig":
        """Read the JSON files of a sentence-transformers folder; only config.json is required.

        Raises:
            ArtifactRefused: a file is invalid; the error names it.

        """
        config, limits, pooling, prompts = (_object(files.get(name, b"{}"), name) for name in CONFIG_FILES)
        said = limits.get("max_seq_length") or config.get("max_position_embeddings") or _DEFAULT_LIMIT
        if not isinstance(said, int) or said < MIN_TOKENS:
            raise ArtifactRefused(CONFIG_FILES[0], f"has a token limit below the minimum, {MIN_TOKENS}")
        named = prompts.get("prompts")
        named = named if isinstance(named, dict) else {}
        return cls(
            max_tokens=min(said, MAX_TOKENS),
            pooling="cls" if pooling.get("pooling_mode_cls_token") else "mean",
            query_prompt=_prompt(named, "query"),
            passage_prompt=_prompt(named, "document") or _prompt(named, "passage"),
        )


class TransformersEmbedding:
    """Implements `ports.EmbeddingModel`: pools as configured, normalises, batches texts of similar length."""

    def __init__(  # noqa: PLR0913 - each of another kind
        self,
        folder: Path,
        threads: EmbeddingThreads,
        tokenizer: EmbeddingTokenizer,
        config: EmbeddingConfig,
        *,
        threads_per_pass: int = 1,
        numeric_format: NumericFormat = "float32",
    ) -> None:
        """Load from a verified folder. Blocks for about a second: call it on an embedding thread."""
        self._torch = torch = ready_torch(threads_per_pass)
        from transformers import AutoModel  # noqa: PLC0415 - takes seconds

        self._threads = threads
        self._config = config
        self._tokenizer = tokenizer
        with passed_on(folder) as given:
            self._network: Any = AutoModel.from_pretrained(
                given,
                config=checked_config(folder, AutoModel.from_config),
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=getattr(torch, numeric_format),
            ).eval()
        self._asked: OrderedDict[tuple[str, bool], list[float] | None] = OrderedDict()
        self.dimensions = int(self._network.config.hidden_size)
        self.special_tokens = tokenizer.facts.special_tokens
        self.max_tokens = self._config.max_tokens - tokenizer.facts.prompt_tokens

    async def cut(self, project: str, content: DocumentContent, cut: Cut) -> tuple[Sequence[Chunk], int]:
        """See `EmbeddingModel.cut`."""
        return await self._tokenizer.cut(project, content, cut)

    async def embed_passages(self, project: str, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """See `EmbeddingModel.embed_passages`."""
        return await self._embedded(project, await self._encoded(project, texts, limit=self._config.max_tokens))

    async def embed_whole(self, project: str, texts: Sequence[str]) -> Sequence[EmbeddedText]:
        """See `EmbeddingModel.embed_whole`."""
        limit = self._config.max_tokens
        encoded = await self._encoded(project, texts, limit=limit + 1)
        for number, tokens in enumerate(encoded):
            if len(tokens) > limit:
                raise TextTooLong(number, limit=limit)
        vectors = await self._embedded(project, encoded)
        return [
            EmbeddedText(vector=vector, tokens=len(tokens)) for vector, tokens in zip(vectors, encoded, strict=True)
        ]

    async def _encoded(self, project: str, texts: Sequence[str], *, limit: int) -> Sequence[Sequence[int]]:
        prompted = [self._config.passage_prompt + text for text in texts]
        return await self._tokenizer.encode(project, prompted, limit=limit)

    async def _embedded(self, project: str, encoded: Sequence[Sequence[int]]) -> Vectors:
        batches = micro_batches(encoded)
        passes = [partial(self._embed, [encoded[position] for position in batch]) for batch in batches]
        vectors: Vectors = [[] for _ in encoded]
        for batch, embedded in zip(batches, await self._threads.run_all(project, passes), strict=True):
            for position, vector in zip(batch, embedded, strict=True):
                vectors[position] = vector
        return vectors

    async def embed_query(self, project: str, text: str) -> Sequence[float] | None:
        """See `EmbeddingModel.embed_query`. Recent queries are cached."""
        return await self._query_vector(project, text, whole=False)

    async def embed_whole_query(self, project: str, text: str) -> Sequence[float] | None:
        """See `EmbeddingModel.embed_whole_query`. Ditto."""
        return await self._query_vector(project, text, whole=True)

    async def _query_vector(self, project: str, text: str, *, whole: bool) -> Sequence[float] | None:
        asked = (text, whole)
        if asked in self._asked:
            self._asked.move_to_end(asked)
            return self._asked[asked]
        prompt, limit = self._config.query_prompt, self._config.max_tokens
        ids = await self._tokenizer.encode_question(
            project, text, prompt=prompt, limit=limit + whole, min_known=1.0 if whole else MIN_KNOWN
        )
        if ids is None or len(ids) > limit:
            vector = None
        else:
            vector = (await self._threads.run(project, lambda: self._embed([ids]), urgent=True))[0]
        self._asked[asked] = vector
        if len(self._asked) > _REMEMBERED_QUESTIONS:
            self._asked.popitem(last=False)
        return vector

    def _embed(self, batch: Sequence[Sequence[int]]) -> Vectors:
        torch, longest = self._torch, max(map(len, batch))
        ids = torch.zeros((len(batch), longest), dtype=torch.long)
        mask = torch.zeros((len(batch), longest), dtype=torch.long)
        for row, tokens in enumerate(batch):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
        with torch.inference_mode():
            hidden = self._network(input_ids=ids, attention_mask=mask).last_hidden_state.float()
            if self._config.pooling == "cls":
                pooled = hidden[:, 0]
            else:
                pooled = (hidden * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
            vectors: Vectors = torch.nn.functional.normalize(pooled, dim=1).tolist()
        return vectors


def ready_torch(threads_per_pass: int) -> Any:  # noqa: ANN401 - a module
    """Import torch and transformers, which takes seconds, as models are served with them, and return torch."""
    for name, value in _OF_LIBRARIES.items():
        os.environ.setdefault(name, value)
    leave_out_training()
    import torch  # noqa: PLC0415
    from transformers.utils import logging  # noqa: PLC0415

    logging.disable_progress_bar()
    torch.set_num_threads(threads_per_pass)
    return torch


def micro_batches(encoded: Sequence[Sequence[int]]) -> list[list[int]]:
    """Group texts of similar length, to minimise padding."""
    batches: list[list[int]] = []
    for position in sorted(range(len(encoded)), key=lambda position: len(encoded[position])):
        if not batches or (len(batches[-1]) + 1) * len(encoded[position]) > TOKENS_PER_BATCH:
            batches.append([])
        batches[-1].append(position)
    return batches


def _object(content: bytes, name: str) -> Mapping[str, Any]:
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ArtifactRefused(name, "is not JSON") from error
    if not isinstance(parsed, dict):
        raise ArtifactRefused(name, "is not a JSON object")
    return parsed


def _prompt(named: Mapping[str, object], name: str) -> str:
    text = named.get(name) or ""
    if not isinstance(text, str) or len(text) > _MAX_PROMPT:
        raise ArtifactRefused(CONFIG_FILES[-1], f"prompt {name} must be a string of at most {_MAX_PROMPT} characters")
    return text


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b"{}"
