"""How well follow-up questions find their documents: by the last message, the user's turns, or rewritten by a model.

Run `python -m tests.bench.followups` in the repository; it needs the models of `make setup`, and no servers. The corpus
is examples/helpdesk/corpus.py, chunked and embedded as rag does it. In half of the conversations the user asks about a
function, gets the answer, and goes on without its name ("Which exceptions does it raise?"); in the others they change
to another one by name. A hit is the right document among the first k passages, which come in turn of the searches that
inference makes. `--cases FOLDER` adds conversations: corpus.json (texts by key) and cases.json
({"cases": [{"turns": [...], "document": key}]}). `--model FOLDER` is another model that rewrites. Prints one JSON line
per set of conversations.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from services.rag.tests.tokenizing import tokenizer_here
from tidemill_core.application import Caller
from tidemill_inference.generation.domain.content import Message, Role
from tidemill_inference.generation.domain.question import Question
from tidemill_inference.generation.steps.rewrite import Rewrite
from tidemill_kit.models.bounded_tokenizers import with_tokenizer
from tidemill_kit.models.numeric_format import computed_format
from tidemill_local.models import EMBEDDINGS
from tidemill_local.places import MODELS
from tidemill_rag.embedding.config import EmbeddingConfig
from tidemill_rag.embedding.domain import passage_vector
from tidemill_rag.embedding.thread import EmbeddingThreads
from tidemill_rag.embedding.tokenizer import spans
from tidemill_rag.embedding.transformers import TransformersEmbedding
from tidemill_rag.indexing.domain.chunking import Cut, chunk

sys.path.append(str(Path(__file__).parents[2] / "examples" / "helpdesk"))
import corpus  # type: ignore[import-not-found]  # an example, which is no package

CALLER = Caller(project="acme")
TURNS = 3
K = 3
FOLLOW_UPS = (
    "And what does it return?",
    "Which arguments does it take?",
    "Can you say more about it?",
    "Does it raise an exception?",
    "When would I use that?",
)
Queries = Callable[[Question], Awaitable[Sequence[str]]]


@dataclass(frozen=True)
class Case:
    """A conversation, and the document that its last question is about."""

    turns: tuple[str, ...]
    expected: str

    @property
    def question(self) -> Question:
        """The question with the turns before it."""
        roles = (Role.USER, Role.ASSISTANT)
        messages = tuple(Message.of(roles[number % 2], text) for number, text in enumerate(self.turns))
        return Question(deployment="helpdesk", messages=messages)


class PlainModel:
    """Implements `Asking`: a model of transformers, greedily, without the service around it."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    async def __call__(
        self, caller: Caller, model: str, messages: Sequence[Message], *, max_output_tokens: int, timeout_s: float
    ) -> str:
        """Return what the model says."""
        del caller, model, timeout_s
        said = [{"role": each.role.value, "content": each.text} for each in messages]
        inputs: Any = self._tokenizer.apply_chat_template(
            said, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        with torch.inference_mode():
            ids = self._model.generate(**inputs, max_new_tokens=max_output_tokens, do_sample=False)
        return str(self._tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))


@dataclass
class Index:
    """Chunks of documents with their vectors, as rag makes them."""

    model: TransformersEmbedding
    owners: list[str] = field(default_factory=list)
    vectors: torch.Tensor = field(default_factory=lambda: torch.empty(0))

    async def fill(self, documents: Sequence[tuple[str, str, str]]) -> None:
        """Index (key, title, text)."""
        cut = Cut(max_tokens=256, overlap_tokens=32, special=self.model.special_tokens)
        tokenize = partial(with_tokenizer, MODELS / EMBEDDINGS / "tokenizer.json", spans)
        chunks = [
            (key, piece)
            for key, title, text in documents
            for piece in chunk(text, media_type="text/plain", title=title, tokenize=tokenize, cut=cut)
        ]
        texts = await self.model.embed_passages("acme", [piece.embedded for _, piece in chunks])
        contexts = list(dict.fromkeys(piece.context for _, piece in chunks))
        of_context = dict(zip(contexts, await self.model.embed_passages("acme", contexts), strict=True))
        vectors = [
            passage_vector(text, of_context[piece.context]) for text, (_, piece) in zip(texts, chunks, strict=True)
        ]
        self.owners, self.vectors = [key for key, _ in chunks], torch.tensor(vectors)

    async def search(self, queries: Sequence[str]) -> list[str]:
        """Return the documents of the first passages, those of several searches in turn."""
        found = []
        for query in queries:
            vector = torch.tensor(await self.model.embed_query("acme", query))
            best = (self.vectors @ vector).topk(K).indices.tolist()
            found.append([(self.owners[position], position) for position in best])
        in_turn = [each for row in zip_longest(*found) for each in row if each is not None]
        return [owner for owner, _ in dict.fromkeys(in_turn)][:K]


def library_cases(documents: Sequence[Any], count: int) -> tuple[list[Case], list[Case]]:
    """Return conversations that go on, and conversations that change their subject."""
    asked = corpus.questions(list(documents), 2 * count)
    going_on, changing = [], []
    for number in range(count):
        first, other = asked[2 * number], asked[2 * number + 1]
        begin = (first.question, first.answer)
        going_on.append(Case((*begin, FOLLOW_UPS[number % len(FOLLOW_UPS)]), first.key))
        changing.append(Case((*begin, other.question), other.key))
    return going_on, changing


async def measured(name: str, index: Index, cases: Sequence[Case], rewrite: Rewrite) -> dict[str, object]:
    """Return the shares of hits by each way to search."""

    async def last(question: Question) -> Sequence[str]:
        return question.queries(1)

    async def turns(question: Question) -> Sequence[str]:
        return question.queries(TURNS)

    async def rewritten(question: Question) -> Sequence[str]:
        made = await rewrite(CALLER, "model", question, turns=TURNS, timeout_s=600.0)
        return question.queries(TURNS, alone=made.question)

    report: dict[str, object] = {"set": name, "conversations": len(cases)}
    ways: dict[str, Queries] = {"last_message": last, "query_turns": turns, "rewritten": rewritten}
    for way, queries in ways.items():
        begun = time.perf_counter()
        tops = [await index.search(await queries(case.question)) for case in cases]
        for k in (1, 2, K):
            hits = sum(case.expected in top[:k] for case, top in zip(cases, tops, strict=True))
            report[f"{way}_hit_at_{k}"] = round(hits / len(cases), 3)
        report[f"{way}_s_per_question"] = round((time.perf_counter() - begun) / len(cases), 3)
    return report


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", type=Path, default=MODELS / "smollm2", help="the folder of the model that rewrites")
    parser.add_argument("--cases", type=Path, help="a folder with corpus.json and cases.json")
    parser.add_argument("--count", type=int, default=60, help="conversations of each kind over the standard library")
    arguments = parser.parse_args()
    threads, folder = EmbeddingThreads(os.cpu_count() or 1), MODELS / EMBEDDINGS
    tokenizer, config = tokenizer_here(folder), EmbeddingConfig.of(folder)
    embedding = await threads.run(
        "bench",
        lambda: TransformersEmbedding(folder, threads, tokenizer, config, numeric_format=computed_format("auto")),
    )
    rewrite = Rewrite(ask=PlainModel(arguments.model), timeout_s=600.0)
    documents = corpus.documents()
    going_on, changing = library_cases(documents, arguments.count)
    index = Index(embedding)
    await index.fill([(each.key, each.title, each.text) for each in documents])
    say(await measured("library, goes on", index, going_on, rewrite))
    say(await measured("library, changes subject", index, changing, rewrite))
    if arguments.cases:
        given = json.loads((arguments.cases / "cases.json").read_text("utf-8"))["cases"]
        texts = json.loads((arguments.cases / "corpus.json").read_text("utf-8"))
        own = Index(embedding)
        await own.fill([(key, "", text) for key, text in texts.items()])
        cases = [Case(tuple(each["turns"]), each["document"]) for each in given]
        say(await measured(str(arguments.cases.name), own, cases, rewrite))


def say(report: dict[str, object]) -> None:
    """Print at once."""
    sys.stdout.write(json.dumps(report) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
