"""Embedding models as graphs of ONNX Runtime, beside torch, on models of two layers whose numbers are chance."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from structlog.testing import capture_logs
from transformers import PreTrainedModel
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertModel
from transformers.models.xlm_roberta.configuration_xlm_roberta import XLMRobertaConfig
from transformers.models.xlm_roberta.modeling_xlm_roberta import XLMRobertaModel

from services.rag.tests.tokenizing import tokenizer_here
from tidemill_kit.workers.bounded_processes import WorkEndedError
from tidemill_local.models import EMBEDDINGS
from tidemill_local.places import MODELS
from tidemill_rag.embedding import exports as exports_module
from tidemill_rag.embedding.config import EmbeddingConfig
from tidemill_rag.embedding.export import export
from tidemill_rag.embedding.exports import Exports
from tidemill_rag.embedding.onnx_runtime import OnnxEmbedding
from tidemill_rag.embedding.thread import EmbeddingThreads
from tidemill_rag.embedding.transformers import TransformersEmbedding
from tidemill_rag.embedding.wiring import opened_embedding
from tidemill_rag.errors import GraphMissing

TOKENIZER = MODELS / EMBEDDINGS / "tokenizer.json"
SIZES = {
    "vocab_size": 30522,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 80,
}
FAMILIES: dict[str, Callable[[], PreTrainedModel]] = {
    "bert": lambda: BertModel(BertConfig(**SIZES)),
    "xlm-roberta": lambda: XLMRobertaModel(XLMRobertaConfig(**SIZES, type_vocab_size=1, pad_token_id=1)),
}
TEXTS = ("The pump stops.", "Parking is free, and a badge opens the gate of each row after six.", "pump " * 60)


def saved(folder: Path, network: PreTrainedModel) -> Path:
    network.save_pretrained(folder)
    shutil.copy(TOKENIZER, folder)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(7)
    return saved(tmp_path / "acme" / "digest", FAMILIES["bert"]())


def by_torch(folder: Path) -> TransformersEmbedding:
    return TransformersEmbedding(folder, EmbeddingThreads(), tokenizer_here(folder), EmbeddingConfig.of(folder))


def by_graph(folder: Path, graph: Path) -> OnnxEmbedding:
    return OnnxEmbedding(graph, EmbeddingThreads(), tokenizer_here(folder), EmbeddingConfig.of(folder))


def cosine(one: Any, other: Any) -> float:  # noqa: ANN401 - numbers
    return float(sum(a * b for a, b in zip(one, other, strict=True)))


@pytest.mark.parametrize(("family", "bits"), [("bert", 8), ("bert", 7), ("xlm-roberta", 8)])
async def test_a_graph_has_the_vectors_of_torch_whatever_a_text_is_batched_with(
    tmp_path: Path, family: str, bits: int
) -> None:
    torch.manual_seed(7)
    folder = saved(tmp_path / "digest", FAMILIES[family]())
    graph = tmp_path / "graph.onnx"

    assert not export(str(folder), str(graph), bits)
    plain, exported = by_torch(folder), by_graph(folder, graph)

    assert exported.dimensions == plain.dimensions == SIZES["hidden_size"]
    expected, made = await plain.embed_passages("acme", TEXTS), await exported.embed_passages("acme", TEXTS)
    for text, one, other in zip(TEXTS, expected, made, strict=True):
        assert cosine(one, other) > 0.999
        assert cosine(other, other) == pytest.approx(1, abs=1e-5)
        alone = await exported.embed_query("acme", text)
        assert alone is not None
        assert cosine(alone, other) > 0.999
    pairs = [(TEXTS[0], TEXTS[1]), (TEXTS[1], TEXTS[1])]
    matches = [await model.match_tokens("acme", pairs) for model in (plain, exported)]
    for before, after in zip(*matches, strict=True):
        known = (before.precision, before.recall)
        assert (after.precision, after.recall) == pytest.approx(known, abs=0.02)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
async def test_a_graph_is_pooled_as_the_model_is(folder: Path, pooling: str) -> None:
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(f'{{"pooling_mode_cls_token": {str(pooling == "cls").lower()}}}')
    graph = folder.with_suffix(".onnx")
    assert not export(str(folder), str(graph))

    [one] = await by_torch(folder).embed_passages("acme", TEXTS[:1])
    [other] = await by_graph(folder, graph).embed_passages("acme", TEXTS[:1])

    assert cosine(one, other) > 0.999


def test_a_model_that_computes_otherwise_is_not_exported_and_says_why(tmp_path: Path) -> None:
    relu = saved(tmp_path / "relu", BertModel(BertConfig(**SIZES, hidden_act="relu")))
    broken = BertModel(BertConfig(**SIZES))
    broken.encoder.layer[1].output.dense.weight.data[0, 0] = float("nan")
    wild = BertModel(BertConfig(**SIZES))
    wild.encoder.layer[1].output.dense.weight.data[:, 0] *= 1e6
    graph = tmp_path / "graph.onnx"

    assert export(str(relu), str(graph)) == "has the activation relu, and gelu is exported"
    assert "that are not finite" in export(str(saved(tmp_path / "nan", broken)), str(graph))
    assert "has other vectors with weights of 8 bits" in export(str(saved(tmp_path / "wild", wild)), str(graph))
    assert not graph.exists()


class Here:
    """Stands for the process that exports."""

    def __init__(self, *ends: WorkEndedError | str) -> None:
        self.ends = list(ends)
        self.runs = 0

    async def run(self, _project: str, work: Callable[..., Any], *arguments: object) -> Any:  # noqa: ANN401 - as the work
        self.runs += 1
        await asyncio.sleep(0)
        if self.ends:
            end = self.ends.pop(0)
            if isinstance(end, WorkEndedError):
                raise end
            return end
        return await asyncio.to_thread(work, *arguments)


async def test_a_graph_is_made_once_and_goes_with_the_projects_folder(folder: Path) -> None:
    here = Here()
    exports = Exports(here, 8)

    both = await asyncio.gather(*(exports.graph_of("acme", folder, "minilm@1") for _ in range(2)))

    assert both == [folder.parent / "digest.int8-2.onnx"] * 2
    assert both[0].exists()
    assert await Exports(here, 8).graph_of("acme", folder, "minilm@1") == both[0]
    assert here.runs == 1


async def test_what_cannot_be_exported_is_not_tried_again_and_the_log_says_why(folder: Path) -> None:
    here = Here("has the activation relu, and gelu is exported")
    with capture_logs() as logs:
        for _ in range(2):
            with pytest.raises(GraphMissing, match="the activation relu"):
                await Exports(here, 8).graph_of("acme", folder, "minilm@1")

    assert here.runs == 1
    assert [(log["event"], log["model"]) for log in logs] == [("embedding_model_not_exported", "minilm@1")] * 2
    assert "relu" in logs[1]["why"]


async def test_an_export_that_the_machine_ended_is_tried_again_after_a_while(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Here(WorkEndedError(cause="died", why="ended its process"))
    exports = Exports(here, 8)

    for _ in range(2):
        with pytest.raises(GraphMissing, match="ended its process; try again"):
            await exports.graph_of("acme", folder, "minilm@1")
    assert here.runs == 1
    monkeypatch.setattr(exports_module, "_AGAIN_AFTER_S", 0.0)
    failing = Exports(Here(WorkEndedError(cause="died", why="ended its process")), 8)
    with pytest.raises(GraphMissing):
        await failing.graph_of("acme", folder, "minilm@1")
    assert (await failing.graph_of("acme", folder, "minilm@1")).exists()


async def test_a_model_that_takes_too_much_to_export_is_not_tried_again(folder: Path) -> None:
    here = Here(WorkEndedError(cause="cpu", why="takes more than 120 s"))

    for _ in range(2):
        with pytest.raises(GraphMissing, match="takes more than 120 s"):
            await Exports(here, 8).graph_of("acme", folder, "minilm@1")
    assert here.runs == 1


async def test_a_graph_that_cannot_be_read_is_made_anew_by_the_next_load(folder: Path) -> None:
    graph = folder.parent / "digest.int8-2.onnx"
    graph.write_bytes(b"half of a graph")

    with pytest.raises(GraphMissing, match="cannot be read"):
        opened_embedding(
            folder,
            graph,
            EmbeddingThreads(),
            tokenizer_here(folder),
            EmbeddingConfig.of(folder),
            threads_per_pass=1,
            numeric_format="float32",
        )

    assert not graph.exists()
