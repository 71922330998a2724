"""The reranker on a cross-encoder of two layers, whose numbers are chance."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertForSequenceClassification, BertModel

from services.rag.tests.tokenizing import InThisProcess
from tidemill_core.models.manifest import ArtifactRefused
from tidemill_kit.models.bounded_tokenizers import BoundedTokenizers, with_tokenizer
from tidemill_local.models import EMBEDDINGS
from tidemill_local.places import MODELS
from tidemill_rag.embedding.cross_encoder import CrossEncoderConfig, TransformersReranker
from tidemill_rag.embedding.thread import EmbeddingThreads
from tidemill_rag.embedding.tokenizer import PairTokenizer, Tokenizers, pairs

TOKENIZER = MODELS / EMBEDDINGS / "tokenizer.json"
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
WORDS = 30522


def made(folder: Path, build: Callable[[BertConfig], PreTrainedModel], *, labels: int = 1) -> Path:
    torch.manual_seed(7)
    build(BertConfig(**SMALL, vocab_size=WORDS, num_labels=labels, max_position_embeddings=64)).save_pretrained(folder)
    shutil.copy(TOKENIZER, folder)
    return folder


def opened(folder: Path) -> TransformersReranker:
    here = BoundedTokenizers(InThisProcess())
    tokenizer = PairTokenizer(tokenizers=Tokenizers(reading=here, cutting=here), file=TOKENIZER, name="cross@1")
    return TransformersReranker(folder, EmbeddingThreads(), tokenizer, CrossEncoderConfig.of(folder))


async def test_scores_are_those_of_transformers_for_question_and_text_whatever_they_are_batched_with(
    tmp_path: Path,
) -> None:
    folder = made(tmp_path, BertForSequenceClassification)
    model, plain = opened(folder), BertForSequenceClassification.from_pretrained(folder).eval()
    texts = ["The pump stops.", "Parking is free, and a badge opens the gate of each row after six."]

    scores = await model.scores("acme", "Why does the pump stop?", texts)

    for text, score in zip(texts, scores, strict=True):
        [pair] = with_tokenizer(TOKENIZER, pairs, "Why does the pump stop?", [text], 64)
        with torch.inference_mode():
            read = plain(input_ids=torch.tensor([pair.ids]), token_type_ids=torch.tensor([pair.types]))
        assert score == pytest.approx(torch.sigmoid(read.logits)[0, 0].item(), abs=1e-5)
    assert await model.scores("acme", "x", []) == []


def test_a_text_that_is_too_long_is_cut_and_a_question_has_half_at_most() -> None:
    [short, long] = with_tokenizer(TOKENIZER, pairs, "why " * 50, ["pump", "pump " * 50], 40)

    assert (len(short.ids), len(long.ids)) == (1 + 20 + 1 + 1 + 1, 40)
    assert short.types == [0] * 22 + [1] * 2
    assert (long.ids[0], long.ids[-1], long.ids.count(long.ids[-1])) == (101, 102, 2)


@pytest.mark.parametrize(("build", "labels"), [(BertForSequenceClassification, 2), (BertModel, 1)])
def test_what_has_other_labels_or_no_classifier_is_refused_by_its_config(
    tmp_path: Path, build: Callable[[BertConfig], PreTrainedModel], labels: int
) -> None:
    with pytest.raises(ArtifactRefused, match=r"architecture|labels"):
        CrossEncoderConfig.of(made(tmp_path, build, labels=labels))


def test_weights_without_a_classifier_are_refused_whatever_the_config_says(tmp_path: Path) -> None:
    folder = made(tmp_path, BertModel)
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["BertForSequenceClassification"]}))

    with pytest.raises(ArtifactRefused, match=r"lacks classifier\.(bias|weight)"):
        opened(folder)


@pytest.mark.parametrize(
    "content",
    [
        b"[]",
        b"{",
        b'{"architectures": "x"}',
        b'{"architectures": ["XForSequenceClassification"], "num_labels": "many"}',
        b'{"architectures": ["XForSequenceClassification"], "max_position_embeddings": 3}',
    ],
)
def test_a_config_that_cannot_be_meant_is_refused(content: bytes) -> None:
    with pytest.raises(ArtifactRefused, match=r"config\.json"):
        CrossEncoderConfig.read(content)
