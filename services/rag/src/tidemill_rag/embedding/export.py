"""Make a graph of an embedding model, and compare it with the model: the work of a process with limits."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tidemill_rag.embedding.onnx_runtime import opened_session, pooled
from tidemill_rag.embedding.transformers import opened_network, ready_torch

MIN_COSINE = 0.97
"""Of a text's vectors by the graph and by torch in float32. MiniLM's are above .99."""
_SAMPLES = (
    "Where are the spare keys of the archive?",
    "Returns a list of the files in a folder, in no order. Raises FileNotFoundError where there is no such folder.",
    "| part | price |\n| --- | --- |\n| E-2047 | 12.50 EUR |\n| E-2048 | 14.00 EUR |",
    "Der Hafenmeister prüft jeden Morgen die Liegeplätze; Anmeldungen nimmt das Büro bis 18 Uhr entgegen.",
    "la marée descendante ouvre le chenal " * 20,
)


def export(folder: str, file: str, bits: int = 8) -> str:
    """Write the graph of a verified folder's model, whole or not at all; return why there is none, "" where there is.

    `bits` are those of a weight.

    Raises:
        ArtifactRefused: the model cannot be loaded at all.
        OSError: the disk does not take the graph.

    """
    from tidemill_rag.embedding.onnx_graph import NotExportedError, encoder_graph  # noqa: PLC0415 - in this process only

    torch = ready_torch(1)
    network = opened_network(Path(folder), "float32")
    try:
        weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
        graph = encoder_graph(network.config, weights, bits=bits)
    except NotExportedError as error:
        return str(error)
    session = opened_session(graph, 1)
    for tokens in _sample_tokens(Path(folder), network.config.max_position_embeddings):
        with torch.inference_mode():
            hidden = network(input_ids=torch.tensor([tokens])).last_hidden_state[0].mean(0).numpy()
        if not (cosine := _cosine(hidden, pooled(session, [tokens], "mean")[0])) >= MIN_COSINE:
            return f"has other vectors with weights of {bits} bits: a cosine of {cosine:.3f}, below {MIN_COSINE}"
    _write(Path(file), graph)
    return ""


def _sample_tokens(folder: Path, longest: int) -> Sequence[Sequence[int]]:
    from tokenizers import Tokenizer  # noqa: PLC0415 - in this process only

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(min(longest // 2, 128))
    return [read.ids for read in tokenizer.encode_batch(list(_SAMPLES)) if read.ids]


def _cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    lengths = float(np.linalg.norm(one)) * float(np.linalg.norm(other))
    return float(one @ other) / lengths if lengths else 0.0


def _write(file: Path, graph: bytes) -> None:
    partial = file.with_suffix(f".{os.getpid()}.partial")
    try:
        with partial.open("wb") as opened:
            opened.write(graph)
            opened.flush()
            os.fsync(opened.fileno())
        partial.rename(file)
    finally:
        partial.unlink(missing_ok=True)
