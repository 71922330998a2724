"""The pairs that a cross-encoder learns from."""

import asyncio
import time
from collections.abc import Iterator
from itertools import islice, repeat
from random import Random
from typing import Any

import pytest
import torch
from transformers.models.bert import BertConfig, BertForSequenceClassification

from tests.bench._upper_layers import Batch, learn
from tests.bench.reranker.training import made, nearest, passages

DOCUMENTS = [
    ("pumps", "Pumps", "The pump stops at nine. A valve closes behind it.\n\nOne sentence."),
    ("valves", "Valves", "A valve closes when the pump stops. It opens by hand."),
    ("tickets", "Tickets", "A ticket costs six euro. The pump beside it is free."),
]


def test_a_passage_without_the_sentence_asked_for_does_not_answer_and_neither_do_others() -> None:
    read = passages(DOCUMENTS)
    near = asyncio.run(nearest(read))

    assert [each.document for each in read] == ["pumps", "valves", "tickets"]
    assert [read[first].document for first, *_ in near[:2]] == ["valves", "pumps"]
    assert all(read[each].document != passage.document for passage, of in zip(read, near, strict=True) for each in of)
    first, without, *others = islice(made(read, near, random=Random(2)), 3)  # noqa: S311 - the same each time
    [document] = [each for each in read if each.text() == first.passage]
    [left_out] = [each for each in document.sentences if each not in without.passage]
    assert (first.answers, without.answers, *(each.answers for each in others)) == (True, False, False)
    assert first.question == without.question == others[0].question
    assert {word for word in first.question.split() if word in left_out}
    assert without.passage == document.text(without=left_out)
    assert not others[0].passage.startswith(document.title)


@pytest.mark.parametrize("seconds", [0.0, 0.01])
def test_learning_ends_where_the_first_batch_takes_longer_than_the_time(seconds: float) -> None:
    sizes = {"hidden_size": 4, "intermediate_size": 4, "num_attention_heads": 1, "vocab_size": 8}
    network: Any = BertForSequenceClassification(BertConfig(num_hidden_layers=3, num_labels=1, **sizes))
    network.set_attn_implementation("eager")
    ones = torch.ones(2, 3, dtype=torch.long)

    def batches() -> Iterator[Batch]:
        for each in repeat(Batch(ones, ones, ones, torch.ones(2))):
            time.sleep(0.03)
            yield each

    learnt = learn(network, batches(), lambda hidden, _: hidden.sum(), seconds=seconds)

    assert learnt.texts > 0
    assert learnt.batches < 50
