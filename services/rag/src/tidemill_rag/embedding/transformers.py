"""Hugging Face sentence embedding models (MiniLM, BGE, E5, GTE) on the CPU, by torch."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidemill_kit.models.folders import checked_config, passed_on
from tidemill_kit.models.numeric_format import NumericFormat, log_computing
from tidemill_kit.models.serving_imports import leave_out_training
from tidemill_rag.embedding.batched import BatchedEmbedding, Vectors
from tidemill_rag.embedding.config import EmbeddingConfig
from tidemill_rag.embedding.thread import EmbeddingThreads
from tidemill_rag.embedding.tokenizer import EmbeddingTokenizer

_OF_LIBRARIES = {
    "GOMP_SPINCOUNT": "20000",
    "LRU_CACHE_CAPACITY": "32",
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "32",
}
"""OpenMP threads sleep soon: spinning slows down the other processes of a busy machine. Few kernels are kept:
nearly each batch has another size, and the thousand that torch keeps by default hold 150 MB.
"""


class TransformersEmbedding(BatchedEmbedding):
    """Any model that transformers has, in bfloat16 or float32."""

    quantized = False

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
        self._torch = ready_torch(threads_per_pass)
        self._network = opened_network(folder, numeric_format)
        log_computing(numeric_format, self._torch.backends.cpu.get_cpu_capability())
        super().__init__(threads, tokenizer, config, dimensions=int(self._network.config.hidden_size))

    def _states(self, batch: Sequence[Sequence[int]]) -> Sequence[NDArray[np.float32]]:
        with self._torch.inference_mode():
            hidden, _ = self._hidden(batch)
            return [states[: len(tokens)].numpy() for states, tokens in zip(hidden, batch, strict=True)]

    def _hidden(self, batch: Sequence[Sequence[int]]) -> tuple[Any, Any]:
        """Return the states of all tokens, padded ones too, and the mask of those that are a text's."""
        torch, longest = self._torch, max(map(len, batch))
        ids = torch.zeros((len(batch), longest), dtype=torch.long)
        mask = torch.zeros((len(batch), longest), dtype=torch.long)
        for row, tokens in enumerate(batch):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
        return self._network(input_ids=ids, attention_mask=mask).last_hidden_state.float(), mask

    def _embed(self, batch: Sequence[Sequence[int]]) -> Vectors:
        torch = self._torch
        with torch.inference_mode():
            hidden, mask = self._hidden(batch)
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


def opened_network(folder: Path, numeric_format: NumericFormat) -> Any:  # noqa: ANN401 - of transformers
    """Return the network of a verified folder, once torch is ready; raises as `checked_config`."""
    import torch  # noqa: PLC0415 - seconds of imports
    from transformers import AutoModel  # noqa: PLC0415 - ditto

    with passed_on(folder) as given:
        return AutoModel.from_pretrained(
            given,
            config=checked_config(folder, AutoModel.from_config),
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=getattr(torch, numeric_format),
        ).eval()
