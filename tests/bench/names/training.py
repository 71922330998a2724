"""Makes a token classifier of names out of an encoder that does not know capital letters.

The encoder's tokens are lower-case. The classifier's vocabulary has each of them a second time with a capital letter,
whose vector is the token's plus one at random for "begins with a capital". The tokens' vectors and the lower layers
stay as they are, so that names which were never learnt keep what the encoder makes of them.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import torch
from tokenizers import Encoding, Tokenizer
from transformers.models.bert import BertConfig, BertForTokenClassification

from tests.bench._labelled import Line
from tests.bench._upper_layers import BATCH, SEED, Batch, Learnt, learn, padded
from tests.bench.names.made import Made

LABELS = ("O", "PER", "LOC", "ORG")
"""Without marks of where a name begins: words of one kind side by side are one name."""
_SHORT: Mapping[str, str] = {"person": "PER", "place": "LOC", "organisation": "ORG"}
CAPITAL = 0.7
"""Of the spread of the tokens' vectors, that of the one for a capital letter."""
BATCHES = 8
"""So many are drawn together, and share texts of one length."""
NONE = -100
_MAX_TOKENS = 96


@dataclass(frozen=True, slots=True)
class Cased:
    """A tokenizer that knows capital letters, and which token of the encoder each of its tokens is."""

    tokenizer: Tokenizer
    bases: torch.Tensor
    capital: torch.Tensor


def cased(encoder: Path) -> Cased:
    """Return the tokenizer of an encoder with each token that begins with a lower-case letter twice."""
    stored = json.loads((encoder / "tokenizer.json").read_text(encoding="utf-8"))
    stored["normalizer"] |= {"lowercase": False, "strip_accents": True}
    vocabulary: dict[str, int] = stored["model"]["vocab"]
    bases = list(range(len(vocabulary)))
    for token, number in list(vocabulary.items()):
        inner = token.startswith("##")
        letters = token.removeprefix("##")
        capital = letters[:1].upper() + letters[1:]
        if capital == letters or len(capital) != len(letters) or (inner and len(letters) > 1):
            continue
        vocabulary["##" + capital if inner else capital] = len(bases)
        bases.append(number)
    numbers = torch.tensor(bases)
    return Cased(Tokenizer.from_str(json.dumps(stored)), numbers, numbers != torch.arange(len(bases)))


def learnt(
    names: Mapping[str, Mapping[str, Sequence[str]]], documents: Sequence[str], *, random: Random
) -> Iterator[Line]:
    """Yield texts to learn from, without end: one to three sentences of a language, or a document without names."""
    made = [Made(language, of, held_out=False, random=random) for language, of in names.items()]
    while True:
        if random.random() < 0.08:
            text = random.choice(documents)
            yield Line("en", text, frozenset())
            continue
        of = random.choice(made)
        lines = [_one(of, random) for _ in range(random.choice((1, 1, 1, 1, 2, 2, 3)))]
        yield joined(lines, random.choice((" ", " ", "\n", "\n\n", " | ")))


def _one(made: Made, random: Random) -> Line:
    way = random.random()
    if way < 0.2:
        return Line(made.language, random.choice(made.said), frozenset())
    if way < 0.35:
        return made.line(random.choice(made.plain))
    return made.line(random.choice(made.templates))


def joined(lines: Sequence[Line], between: str) -> Line:
    """Return the lines as one text."""
    whole = replace(lines[0])
    for line in lines[1:]:
        shift = len(whole.text) + len(between)
        moved = {(start + shift, stop + shift, kind) for start, stop, kind in line.labels}
        whole = Line(whole.language, whole.text + between + line.text, whole.labels | moved)
    return whole


def label_numbers(encoding: Encoding, line: Line) -> list[int]:
    """Return the label of each word at its first token, and none at the others."""
    numbers, word = list[int](), None
    for place, (start, stop) in enumerate(encoding.offsets):
        first, word = encoding.word_ids[place] != word, encoding.word_ids[place]
        if word is None or not first:
            numbers.append(NONE)
            continue
        inside = [label for label in line.labels if label[0] <= start and stop <= label[1]]
        numbers.append(LABELS.index(_SHORT[inside[0][2]] if inside else "O"))
    return numbers


def train(encoder: Path, folder: Path, lines: Iterator[Line], *, seconds: float) -> Learnt:
    """Learn for so long, and write a model's folder."""
    torch.manual_seed(SEED)
    known = cased(encoder)
    known.tokenizer.enable_truncation(_MAX_TOKENS)
    network: Any = BertForTokenClassification.from_pretrained(
        encoder,
        attn_implementation="eager",
        num_labels=len(LABELS),
        id2label=dict(enumerate(LABELS)),
        dtype=torch.float32,
    )
    vectors = network.bert.embeddings.word_embeddings.weight.detach()
    capital = CAPITAL * vectors.std() * torch.randn(vectors.shape[1])
    table = vectors[known.bases] + known.capital.unsqueeze(-1) * capital

    def loss_of(hidden: torch.Tensor, batch: Batch) -> torch.Tensor:
        logits = network.classifier(network.dropout(hidden))
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), ignore_index=NONE)

    learnt = learn(network, (_batch(known, table, each) for each in _batches(lines)), loss_of, seconds=seconds)
    whole: Any = BertForTokenClassification(BertConfig(**{**network.config.to_dict(), "vocab_size": len(table)}))
    whole.load_state_dict({**network.state_dict(), "bert.embeddings.word_embeddings.weight": table})
    whole.save_pretrained(folder, safe_serialization=True)
    known.tokenizer.no_truncation()
    known.tokenizer.save(str(folder / "tokenizer.json"))
    return learnt


def _batch(known: Cased, table: torch.Tensor, lines: Sequence[Line]) -> Batch:
    encoded = known.tokenizer.encode_batch([line.text for line in lines])
    labels = [label_numbers(each, line) for each, line in zip(encoded, lines, strict=True)]
    there = padded([each.attention_mask for each in encoded])
    ids = padded([each.ids for each in encoded])
    return Batch(table[ids], there, torch.zeros_like(ids), padded(labels, filler=NONE))


def _batches(lines: Iterator[Line]) -> Iterator[Sequence[Line]]:
    while True:
        drawn = sorted((next(lines) for _ in range(BATCH * BATCHES)), key=lambda line: len(line.text))
        yield from (drawn[start : start + BATCH] for start in torch.randperm(BATCHES).mul(BATCH).tolist())
