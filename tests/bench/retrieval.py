"""How well questions find their documents: each way of searching, by kind of question.

Run `python -m tests.bench.retrieval` in the repository; no server is needed. Two sets, indexed and searched as by rag:

- `harbour`: questions/documents.yaml and questions/questions.yaml, 75 documents of an invented harbour and 81 questions
  of eight kinds. All documents that a question needs must be among the first k passages' (1, 2, 5).
- `python`: examples/helpdesk/corpus.py, about 1,000 documents of the standard library and 200 questions.

`refused` is the share of unanswerable questions whose best passage scores below what 95 % of the answerable ones reach.
Prints a JSON line for each set and way. Exits with 1 when the default finds less of `python` than one vector of bare
MiniLM a document, by more than 0.01.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import fmean, quantiles
from typing import Any

import torch
import yaml

from services.rag.tests.fake_stores import InMemoryLedger
from services.rag.tests.fakes import ADA, Rag, spec, write
from services.rag.tests.tokenizing import tokenizer_here
from tidemill_core.application import Caller
from tidemill_kit.models.numeric_format import computed_format
from tidemill_local.models import EMBEDDINGS
from tidemill_local.places import MODELS

sys.path.append(str(Path(__file__).parents[2] / "examples" / "helpdesk"))
import corpus  # type: ignore[import-not-found]  # an example, which is no package

from tidemill_rag.collections.domain import SearchSettings
from tidemill_rag.collections.resolve_settings import SparseSpec
from tidemill_rag.embedding.ports import ResolvedModel
from tidemill_rag.embedding.thread import EmbeddingThreads
from tidemill_rag.embedding.transformers import EmbeddingConfig, TransformersEmbedding
from tidemill_rag.indexing.index_documents import BatchLimits
from tidemill_rag.vectors.edge import QdrantEdgeVectors

QUESTIONS = Path(__file__).parent / "questions"
TOLERANCE = 0.01
TOP = (1, 2, 5)
RANKINGS: Mapping[str, SearchSettings] = {
    "dense": SearchSettings(sparse_weight=0.0),
    "sparse": SearchSettings(dense_weight=0.0),
    **{f"hybrid {weight:g}": SearchSettings(sparse_weight=weight) for weight in (0.2, 0.35, 0.5, 0.7, 1.0)},
}
HYBRID = {"hybrid": SearchSettings()}
ANALYSES: Mapping[str, SparseSpec] = {
    "default": SparseSpec(),
    "words": SparseSpec(by="bm25"),
    "en, de, fr, es": SparseSpec(by="bm25", languages=("en", "de", "fr", "es")),
}


@dataclass(frozen=True)
class Document:
    """A document of a set."""

    key: str
    text: str
    title: str
    language: str = "en"
    media_type: str = "text/plain"


@dataclass(frozen=True)
class Asked:
    """A question of a kind, and the documents that it needs."""

    kind: str
    text: str
    needed: Sequence[str]


@dataclass(kw_only=True)
class Embedded:
    """A registry with one model, which embeds each text once."""

    model: TransformersEmbedding
    known: dict[str, Sequence[float]] = field(default_factory=dict)

    async def resolve(self, _caller: Caller, _reference: str) -> ResolvedModel:
        """Return the only model."""
        return ResolvedModel(reference="minilm@1", max_tokens=self.model.max_tokens)

    async def load(self, _caller: Caller, _resolved: str) -> "Embedded":
        """Return this."""
        return self

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - what the model has
        return getattr(self.model, name)

    async def embed_passages(self, project: str, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Embed what was not embedded before."""
        fresh = [text for text in dict.fromkeys(texts) if text not in self.known]
        self.known |= zip(fresh, await self.model.embed_passages(project, fresh), strict=True)
        return [self.known[text] for text in texts]


async def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--set", choices=["harbour", "python"], help="only this one")
    only = parser.parse_args().set
    embedded = await _model()
    if only != "python":
        await compare("harbour", embedded, *_harbour())
    if only == "harbour":
        return 0
    documents, questions = _python()
    hits = await compare("python", embedded, documents, questions)
    bare = await _bare(embedded, documents, questions)
    _print(set="python", ranking="bare vectors of whole documents", python=bare)
    return int(any(mine < theirs - TOLERANCE for mine, theirs in zip(hits["python"], bare, strict=False)))


async def compare(
    name: str, embedded: Embedded, documents: Sequence[Document], questions: Sequence[Asked]
) -> Mapping[str, list[float]]:
    """Print what each way of searching finds; return what the default finds."""
    default: Mapping[str, list[float]] = {}
    for analysis, sparse in ANALYSES.items():
        async with _indexed(embedded, documents, sparse) as rag:
            for ranking, settings in (RANKINGS if analysis == "default" else HYBRID).items():
                found, refused = await _measured(rag, settings, questions)
                _print(set=name, sparse=analysis, ranking=ranking, **found, refused=refused)
                default = found if analysis == "default" and settings == SearchSettings() else default
    return default


async def _model() -> Embedded:
    threads, folder = EmbeddingThreads(os.cpu_count() or 1), MODELS / EMBEDDINGS
    opened = partial(
        TransformersEmbedding,
        folder,
        threads,
        tokenizer_here(folder),
        EmbeddingConfig.of(folder),
        numeric_format=computed_format("auto"),
    )
    return Embedded(model=await threads.run("bench", opened))


@asynccontextmanager
async def _indexed(embedded: Embedded, documents: Sequence[Document], sparse: SparseSpec) -> AsyncIterator[Rag]:
    """Index documents as rag does, on the embedded vector store and a ledger in memory."""
    with tempfile.TemporaryDirectory(prefix="tidemill-retrieval-") as folder:
        vectors: Any = QdrantEdgeVectors(Path(folder))
        models: Any = embedded
        rag = Rag(vectors=vectors, models=models, ledger=InMemoryLedger(large_bytes=1_000_000))
        rag.index_documents = replace(rag.index_documents, limits=BatchLimits())
        rag.reconcile = rag.new_reconcile()
        for each in documents:
            desired = rag.ingest.put(each.key, each.text, media_type=each.media_type, title=each.title)
            content = desired.content
            assert content
            stored: Any = rag.ingest.contents[content]
            rag.ingest.contents[content] = replace(stored, language=each.language)
        await rag.crud.create(ADA, replace(spec(embedding="minilm"), sparse=sparse), write("create"))
        await rag.work()
        yield rag
        await vectors.close()


async def _measured(
    rag: Rag, settings: SearchSettings, questions: Sequence[Asked]
) -> tuple[Mapping[str, list[float]], float | None]:
    """Return the shares found among the first 1, 2 and 5 documents by kind, and the share refused."""
    await rag.crud.update(ADA, replace(spec(), search=settings), frozenset({"search"}), write(str(settings)))
    hits: dict[str, list[list[bool]]] = {}
    best: dict[bool, list[float]] = {True: [], False: []}
    for asked in questions:
        passages = (await rag.search(asked.text, top_k=4 * TOP[-1])).passages
        best[bool(asked.needed)].append(max((passage.score for passage in passages), default=0.0))
        if asked.needed:
            keys = list(dict.fromkeys(passage.payload.key for passage in passages))
            hits.setdefault(asked.kind, []).append([{*asked.needed} <= {*keys[:k]} for k in TOP])
    found = {kind: [round(fmean(column), 3) for column in zip(*rows, strict=True)] for kind, rows in hits.items()}
    if not best[False]:
        return found, None
    least = quantiles(best[True], n=20)[0]
    return found, round(fmean(score < least for score in best[False]), 3)


async def _bare(embedded: Embedded, documents: Sequence[Document], questions: Sequence[Asked]) -> list[float]:
    """Return hit@1 and hit@2 of one vector a document, which is cut at the model's limit."""
    vectors = torch.tensor(await embedded.embed_passages("bench", [each.text for each in documents]))
    found = []
    for asked in questions:
        query = torch.tensor(await embedded.model.embed_query("bench", asked.text))
        nearest = [documents[position].key for position in (vectors @ query).topk(2).indices.tolist()]
        found.append([asked.needed[0] in nearest[:1], asked.needed[0] in nearest])
    return [round(fmean(column), 3) for column in zip(*found, strict=True)]


def _harbour() -> tuple[Sequence[Document], Sequence[Asked]]:
    documents = yaml.safe_load((QUESTIONS / "documents.yaml").read_text(encoding="utf-8"))
    questions = yaml.safe_load((QUESTIONS / "questions.yaml").read_text(encoding="utf-8"))
    return (
        [Document(key, text, title, *language) for key, (title, text, *language) in documents.items()],
        [Asked(kind, text, needed) for kind, asked in questions.items() for text, *needed in asked],
    )


def _python() -> tuple[Sequence[Document], Sequence[Asked]]:
    documents = corpus.documents()
    return (
        [Document(each.key, each.text, each.title, media_type=each.media_type) for each in documents],
        [Asked("python", each.question, [each.key]) for each in corpus.questions(documents, 200)],
    )


def _print(**figures: object) -> None:
    sys.stdout.write(json.dumps({name: value for name, value in figures.items() if value is not None}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
