"""A small cross-encoder that learns from Python's library which passage answers a question.

A question is a sentence of a passage without a third of its words, behind an interrogative; the passage answers it. The
same passage without that sentence does not, though it is about the same, and neither do the passages of other documents
that BM25 ranks first once that document is away.
"""

import asyncio
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any
from zlib import crc32

import torch
from transformers.models.bert import BertForSequenceClassification

from services.rag.tests.tokenizing import InThisProcess
from tests.bench._upper_layers import BATCH, SEED, Batch, Learnt, learn, padded
from tidemill_core.application import Caller
from tidemill_kit.models.bounded_tokenizers import BoundedTokenizers, with_tokenizer
from tidemill_kit.models.numeric_format import computed_format
from tidemill_rag.embedding.bm25 import Bm25Embedding
from tidemill_rag.embedding.cross_encoder import CrossEncoderConfig, TransformersReranker
from tidemill_rag.embedding.domain import SparseVector
from tidemill_rag.embedding.thread import EmbeddingThreads
from tidemill_rag.embedding.tokenizer import PairTokenizer, Tokenizers, pairs

NAME = "cross-encoder@1"
MAX_TOKENS = 96
NEGATIVES = 2
"""Of other documents, for each question."""
HELD_OUT, CHECKED = 10, 24
"""Of so many documents one is kept, and so many batches of these say whether anything was learnt."""
_CHARACTERS = 360
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_ASKS = ("what is", "how do I", "when does", "which", "how many", "who", "can I", "where", "why", "")


@dataclass(frozen=True, slots=True)
class Pair:
    """A question, a passage, and whether it answers."""

    question: str
    passage: str
    answers: bool


@dataclass(frozen=True, slots=True)
class Passage:
    """Sentences of a document."""

    document: str
    title: str
    sentences: Sequence[str]

    def text(self, *, without: str = "") -> str:
        """Return what rag gives a reranker to read."""
        return "\n".join((self.title, " ".join(each for each in self.sentences if each != without)))


def passages(documents: Sequence[tuple[str, str, str]]) -> list[Passage]:
    """Return the paragraphs of documents, given as key, title and text, as passages of at least two sentences."""
    found = []
    for key, title, text in documents:
        for paragraph in text.split("\n\n"):
            sentences = _SENTENCE.split(" ".join(paragraph.split()))
            while sum(map(len, sentences)) > _CHARACTERS:
                sentences.pop()
            if len(sentences) > 1:
                found.append(Passage(key, title, tuple(sentences)))
    return found


async def nearest(read: Sequence[Passage]) -> Sequence[Sequence[int]]:
    """Return for each passage those of other documents that BM25 ranks first for it."""
    vectors = await Bm25Embedding().embed_passages([("en", each.text()) for each in read], languages=("en",))
    postings: dict[int, list[tuple[int, float]]] = {}
    for number, vector in enumerate(vectors):
        for term, weight in zip(vector.indices, vector.values, strict=True):
            postings.setdefault(term, []).append((number, weight))
    return [_nearest(read, number, vector, postings) for number, vector in enumerate(vectors)]


def _nearest(
    read: Sequence[Passage], asked: int, vector: SparseVector, postings: Mapping[int, Sequence[tuple[int, float]]]
) -> Sequence[int]:
    scores: dict[int, float] = {}
    for term in vector.indices:
        for number, weight in postings[term]:
            if read[number].document != read[asked].document:
                scores[number] = scores.get(number, 0.0) + weight / len(postings[term])
    return sorted(scores, key=lambda number: -scores[number])[: 4 * NEGATIVES]


def made(read: Sequence[Passage], near: Sequence[Sequence[int]], *, random: Random) -> Iterator[Pair]:
    """Yield pairs without end: one that answers, and up to three that do not."""
    while True:
        number = random.randrange(len(read))
        passage = read[number]
        sentence = random.choice(passage.sentences)
        words = [word for word in sentence.rstrip(".!?").split() if random.random() > 1 / 3]
        if not words or not near[number]:
            continue
        question = f"{random.choice(_ASKS)} {' '.join(words)}".strip()
        yield Pair(question, passage.text(), answers=True)
        yield Pair(question, passage.text(without=sentence), answers=False)
        for other in random.sample(near[number], min(NEGATIVES, len(near[number]))):
            yield Pair(question, read[other].text(), answers=False)


def train(
    encoder: Path, folder: Path, documents: Sequence[tuple[str, str, str]], *, seconds: float
) -> tuple[Learnt, float]:
    """Learn for so long, and write a model's folder; return how well it separates pairs of kept documents, too."""
    torch.manual_seed(SEED)
    parts: Mapping[bool, list[Passage]] = {False: [], True: []}
    for passage in passages(documents):
        parts[crc32(passage.document.encode()) % HELD_OUT == 0].append(passage)
    drawn, kept = (made(part, asyncio.run(nearest(part)), random=Random(SEED)) for part in parts.values())  # noqa: S311
    network: Any = BertForSequenceClassification.from_pretrained(
        encoder, attn_implementation="eager", num_labels=1, dtype=torch.float32
    )

    def logits_of(hidden: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = network.classifier(network.dropout(network.bert.pooler(hidden)))
        return logits[:, 0]

    def loss_of(hidden: torch.Tensor, batch: Batch) -> torch.Tensor:
        return torch.nn.functional.binary_cross_entropy_with_logits(logits_of(hidden), batch.targets)

    tokenizer = encoder / "tokenizer.json"
    learnt = learn(network, _batches(tokenizer, drawn), loss_of, seconds=seconds)
    network.save_pretrained(folder, safe_serialization=True)
    shutil.copy(tokenizer, folder)
    return learnt, _separates(network, list(islice(_batches(tokenizer, kept), CHECKED)))


def _separates(network: Any, batches: Sequence[Batch]) -> float:  # noqa: ANN401 - of transformers
    """Return how often a pair that answers has a higher score than one that does not (the area under the curve)."""
    with torch.inference_mode():
        scores = torch.cat(
            [
                network(input_ids=each.given, attention_mask=each.there, token_type_ids=each.types).logits[:, 0]
                for each in batches
            ]
        )
    answers = torch.cat([each.targets for each in batches]) > 0
    return float((scores[answers].unsqueeze(1) > scores[~answers]).float().mean())


def _batches(tokenizer: Path, drawn: Iterator[Pair]) -> Iterator[Batch]:
    while True:
        chosen = list(islice(drawn, BATCH))
        encoded = [with_tokenizer(tokenizer, pairs, pair.question, [pair.passage], MAX_TOKENS)[0] for pair in chosen]
        yield Batch(
            padded([each.ids for each in encoded]),
            padded([[1] * len(each.ids) for each in encoded]),
            padded([each.types for each in encoded]),
            torch.tensor([float(pair.answers) for pair in chosen]),
        )


@dataclass(frozen=True)
class CrossEncoder:
    """Implements rag's `Rerankers`: one model's folder, opened as the service opens it."""

    model: TransformersReranker

    async def check(self, caller: Caller, reference: str) -> None:
        """Know one name."""
        assert caller.project
        assert reference == NAME

    async def load(self, caller: Caller, reference: str) -> TransformersReranker:
        """Return the model."""
        await self.check(caller, reference)
        return self.model


def opened(folder: Path) -> CrossEncoder:
    """Open a model's folder."""
    here = BoundedTokenizers(InThisProcess())
    tokenizer = PairTokenizer(
        tokenizers=Tokenizers(reading=here, cutting=here), file=folder / "tokenizer.json", name=NAME
    )
    return CrossEncoder(
        TransformersReranker(
            folder,
            EmbeddingThreads(),
            tokenizer,
            CrossEncoderConfig.of(folder),
            numeric_format=computed_format("auto"),
        )
    )
