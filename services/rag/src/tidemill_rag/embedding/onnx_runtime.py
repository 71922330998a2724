"""Embedding models as graphs with weights of 8 bits, by ONNX Runtime."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidemill_rag.embedding.batched import BatchedEmbedding, Vectors
from tidemill_rag.embedding.config import EmbeddingConfig
from tidemill_rag.embedding.thread import EmbeddingThreads
from tidemill_rag.embedding.tokenizer import EmbeddingTokenizer

IDS, LENGTHS, HIDDEN = "ids", "lengths", "hidden"
"""Names in a graph: token ids, how many of each row are a text's, and the vectors of all tokens."""


class OnnxEmbedding(BatchedEmbedding):
    """A model that `export` made a graph of."""

    quantized = True

    _max_tokens = 512
    """What a pass of integers works on stays near the processor: 1,024 are a twentieth slower, 4,096 a quarter."""

    def __init__(
        self,
        graph: Path,
        threads: EmbeddingThreads,
        tokenizer: EmbeddingTokenizer,
        config: EmbeddingConfig,
        *,
        threads_per_pass: int = 1,
    ) -> None:
        """Load a graph. Blocks for a tenth of a second: call it on an embedding thread."""
        self._session = opened_session(graph, threads_per_pass)
        dimensions = int(self._session.get_outputs()[0].shape[-1])
        super().__init__(threads, tokenizer, config, dimensions=dimensions)

    def _embed(self, batch: Sequence[Sequence[int]]) -> Vectors:
        vectors: Vectors = pooled(self._session, batch, self._config.pooling).tolist()
        return vectors

    def _states(self, batch: Sequence[Sequence[int]]) -> Sequence[NDArray[np.float32]]:
        hidden, lengths = hidden_states(self._session, batch)
        return [states[:length] for states, length in zip(hidden, lengths, strict=True)]


def opened_session(graph: "Path | bytes", threads_per_pass: int) -> Any:  # noqa: ANN401 - of a library without types
    """Return what runs a graph; several threads may at once."""
    import onnxruntime  # noqa: PLC0415 - 30 MB, where a model is exported

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads_per_pass, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Nearly each batch has another size: neither what one took nor a plan for its size is kept for the next.
    options.enable_mem_pattern = False
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 3
    given = graph if isinstance(graph, bytes) else str(graph)
    return onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])


def hidden_states(
    session: Any,  # noqa: ANN401 - ditto
    batch: Sequence[Sequence[int]],
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Return the states of all tokens, padded ones too, and how many each text has."""
    lengths = np.array([len(tokens) for tokens in batch], dtype=np.int32)
    ids = np.zeros((len(batch), int(lengths.max())), dtype=np.int64)
    for row, tokens in enumerate(batch):
        ids[row, : len(tokens)] = tokens
    hidden: NDArray[np.float32] = session.run([HIDDEN], {IDS: ids, LENGTHS: lengths})[0]
    return hidden, lengths


def pooled(session: Any, batch: Sequence[Sequence[int]], pooling: str) -> NDArray[np.float32]:  # noqa: ANN401 - ditto
    """Return a vector of length 1 for each text of a batch."""
    hidden, lengths = hidden_states(session, batch)
    if pooling == "cls":
        vectors: NDArray[np.float32] = hidden[:, 0]
    else:
        mask = np.arange(hidden.shape[1]) < lengths[:, None]
        vectors = np.matmul(mask[:, None].astype(np.float32), hidden)[:, 0]
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return vectors
