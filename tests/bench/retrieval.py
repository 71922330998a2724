"""How well questions find their documents: each way of searching, by kind of question.

Run `python -m tests.bench.retrieval` in the repository; no server is needed. Two sets, indexed and searched as by rag:

- `harbour`: questions/documents.yaml and questions/questions.yaml, 75 documents of an invented harbour, 81 questions of
  eight kinds, and 50 more that it does not answer: far from it, and near. All documents that a question needs must be
  among the first k passages' (1, 2, 5).
- `python`: examples/helpdesk/corpus.py, about 1,000 documents of the standard library and 200 questions.

Beside the rankings: late interaction as a reranker (no package carries a cross-encoder), diversity, neighbours, other
ways of chunking, and the documents in two collections that are searched as one. `characters` is the mean length of the
first passage. `--only TEXT` measures the ways with this in their name.

`--variants K` measures questions whose words are not the document's in K other wordings, too, which the demo's model
writes (SmolLM2, of 135 million numbers: no good writer), fused as inference does.

`refused` says, for each kind of unanswerable questions, how many find nothing with the `answerable_above` at which 5 %
of the answerable ones do, as `tidemill collections tune` finds it: the share of questions that the threshold had not
seen, and its interval; `false_refusals` the same of the answerable ones.
Prints a JSON line for each set and way. Exits with 1 when the default finds less of `python` than one vector of bare
MiniLM a document, by more than 0.01.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
import yaml

from services.rag.tests.fake_stores import InMemoryLedger
from services.rag.tests.fakes import ADA, Rag, spec, write
from services.rag.tests.tokenizing import tokenizer_here
from tests.bench._late_interaction import NAME, LateInteraction
from tidemill_cli.answerability import READ, Observation, calibrated
from tidemill_core.application import Caller, derived_id
from tidemill_core.rankings import NDCG, ranking_scores
from tidemill_inference.generation.domain.content import Message, Passage, Role
from tidemill_inference.generation.domain.question import Question
from tidemill_inference.generation.steps.retrieve import fused
from tidemill_inference.generation.steps.rewrite import Rewrite
from tidemill_kit.mapping import REST, from_message
from tidemill_kit.models.numeric_format import computed_format
from tidemill_local.models import ANSWERS, EMBEDDINGS
from tidemill_local.places import MODELS

sys.path.append(str(Path(__file__).parents[2] / "examples" / "helpdesk"))
import corpus  # type: ignore[import-not-found]  # an example, which is no package

from tidemill_rag.collections.domain.search_settings import Rerank, SearchSettings
from tidemill_rag.collections.resolve_settings import ChunkingSpec, SparseSpec
from tidemill_rag.embedding.config import EmbeddingConfig
from tidemill_rag.embedding.ports import ResolvedModel
from tidemill_rag.embedding.thread import EmbeddingThreads
from tidemill_rag.embedding.transformers import TransformersEmbedding
from tidemill_rag.indexing.index_documents import BatchLimits
from tidemill_rag.search.messages import passage_message
from tidemill_rag.vectors.edge import QdrantEdgeVectors

QUESTIONS = Path(__file__).parent / "questions"
TOLERANCE = 0.01
_PATIENCE_S = 60.0
FALSE_REFUSALS = 0.05
TOP = (1, 2, 5)
DEPTH = 10
"""Of nDCG."""
RANKINGS: Mapping[str, SearchSettings] = {
    "dense": SearchSettings(sparse_weight=0.0),
    "sparse": SearchSettings(dense_weight=0.0),
    **{f"hybrid {weight:g}": SearchSettings(sparse_weight=weight) for weight in (0.2, 0.35, 0.5, 0.7, 1.0)},
}
HYBRID = {"hybrid": SearchSettings()}
BEHIND: Mapping[str, SearchSettings] = {
    f"late interaction of {candidates}": SearchSettings(rerank=Rerank(model=NAME, candidates=candidates))
    for candidates in (10, 20)
} | {
    **{f"diversity {diversity:g}": SearchSettings(diversity=diversity) for diversity in (0.1, 0.3, 0.5)},
    "neighbours 1": SearchSettings(neighbours=1),
    "identifiers required": SearchSettings(identifiers_required=True),
}
"""What is done with what the default finds."""
CHUNKINGS: Mapping[str, ChunkingSpec] = {
    f"{by} of {tokens} tokens": ChunkingSpec(by=by, max_tokens=tokens)
    for by in ("structure", "sentence", "window")
    for tokens in (256, 96)
}
VARIED = ("paraphrase",)
"""Kinds of questions whose wording decides what is found."""
PARTS = ("handbook", "other")
"""The collections of documents that are in two."""
DEFAULT_SPARSE, DEFAULT_CHUNKING = SparseSpec(), ChunkingSpec()
ANALYSES: Mapping[str, SparseSpec] = {
    "default": DEFAULT_SPARSE,
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


@dataclass(frozen=True)
class Built:
    """How documents are indexed, and the ways of searching that are measured on it."""

    name: str
    settings: Mapping[str, SearchSettings]
    sparse: SparseSpec = DEFAULT_SPARSE
    chunking: ChunkingSpec = DEFAULT_CHUNKING
    parts: int = 1


@dataclass(kw_only=True)
class Embedded:
    """A registry with one model, which embeds each text once."""

    model: TransformersEmbedding
    known: dict[str, Sequence[float]] = field(default_factory=dict)

    async def resolve(self, _caller: Caller, _reference: str) -> ResolvedModel:
        """Return the only model."""
        return ResolvedModel(reference="minilm@1", max_tokens=self.model.max_tokens)

    async def load(self, _caller: Caller, _resolved: str, **_: object) -> "Embedded":
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
    parser.add_argument("--only", default="", help="only ways with this in their name")
    parser.add_argument("--variants", type=int, default=0, help="measure questions in so many other wordings")
    given = parser.parse_args()
    embedded = await opened_model()
    if given.variants:
        await _vary(embedded, *harbour(), count=given.variants)
        return 0
    if given.set != "python":
        await compare("harbour", embedded, *harbour(), only=given.only)
    if given.set == "harbour":
        return 0
    documents, questions = python_library()
    hits = await compare("python", embedded, documents, questions, only=given.only)
    if given.only:
        return 0
    bare = await _bare(embedded, documents, questions)
    print_line(set="python", ranking="bare vectors of whole documents", python=bare)
    return int(any(mine < theirs - TOLERANCE for mine, theirs in zip(hits["python"], bare, strict=False)))


async def compare(
    name: str, embedded: Embedded, documents: Sequence[Document], questions: Sequence[Asked], *, only: str = ""
) -> Mapping[str, list[float]]:
    """Print what each way of searching finds; return what the default finds."""
    default: Mapping[str, list[float]] = {}
    for built in _ways():
        settings_of = {each: settings for each, settings in built.settings.items() if only in f"{built.name} {each}"}
        if not settings_of:
            continue
        async with indexed(embedded, documents, built) as rag:
            for ranking, settings in settings_of.items():
                found = await measured(rag, settings, questions)
                print_line(set=name, index=built.name, ranking=ranking, **found)
                default = found if built.name == "default" and settings == SearchSettings() else default
    return default


def _ways() -> Iterator[Built]:
    for analysis, sparse in ANALYSES.items():
        yield Built(f"{analysis}", {**RANKINGS, **BEHIND} if analysis == "default" else HYBRID, sparse=sparse)
    for chunking, spec_of in CHUNKINGS.items():
        yield Built(chunking, {**HYBRID, "neighbours 1": SearchSettings(neighbours=1)}, chunking=spec_of)
    yield Built("two collections", HYBRID, parts=2)


async def opened_model() -> Embedded:
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
async def indexed(
    embedded: Embedded, documents: Sequence[Document], built: Built, *, rerankers: object | None = None
) -> AsyncIterator[Rag]:
    """Index documents as rag does, on the embedded vector store and a ledger in memory.

    Without rerankers there is one by late interaction.
    """
    with tempfile.TemporaryDirectory(prefix="tidemill-retrieval-") as folder:
        vectors: Any = QdrantEdgeVectors(Path(folder))
        models: Any = embedded
        by: Any = rerankers or LateInteraction(embedded.model)
        rag = Rag(vectors=vectors, models=models, rerankers=by, ledger=InMemoryLedger(large_bytes=1_000_000))
        one = rag.search_passages.one
        rag.search_passages = replace(
            rag.search_passages, one=replace(one, rerank=replace(one.rerank, timeout_s=_PATIENCE_S))
        )
        rag.index_documents = replace(rag.index_documents, limits=BatchLimits())
        rag.reconcile = rag.new_reconcile()
        parts = PARTS[: built.parts]
        for number, each in enumerate(documents):
            source = parts[number % len(parts)]
            desired = rag.ingest.put(each.key, each.text, media_type=each.media_type, title=each.title, source=source)
            content = desired.content
            assert content
            stored: Any = rag.ingest.contents[content]
            rag.ingest.contents[content] = replace(stored, language=each.language)
        for part in parts:
            settings = replace(
                spec(part, sources=(part,), embedding="minilm"), sparse=built.sparse, chunking=built.chunking
            )
            await rag.crud.create(ADA, settings, write(part))
            await rag.work(collection=part)
        yield rag
        await vectors.close()


async def measured(rag: Rag, settings: SearchSettings, questions: Sequence[Asked]) -> dict[str, Any]:
    """Return the shares found among the first 1, 2 and 5 documents by kind, nDCG@10, and the share refused."""
    parts = [part for part in PARTS if ("acme", part) in rag.ingest.documents_of]
    for part in parts:
        search = replace(spec(part), search=settings)
        await rag.crud.update(ADA, search, frozenset({"search"}), write(derived_id(f"{settings}")))
    hits: dict[str, list[list[bool]]] = {}
    best: dict[str, list[Observation]] = {}
    characters, gains = list[int](), list[float]()
    for asked in questions:
        answer = await rag.search(asked.text, top_k=_depth(settings), other_collections=tuple(parts[1:]))
        assert settings.identifiers_required or not answer.warnings, answer.warnings
        passages = answer.passages
        characters += [len(passage.payload.text) for passage in passages[:1]]
        kind = "answerable" if asked.needed else asked.kind
        relevance = max((passage.relevance for passage in passages[:READ]), default=0.0)
        best.setdefault(kind, []).append(Observation(id=asked.text, best=relevance, answerable=bool(asked.needed)))
        if asked.needed:
            keys = list(dict.fromkeys(passage.payload.key for passage in passages))
            hits.setdefault(asked.kind, []).append([{*asked.needed} <= {*keys[:k]} for k in TOP])
            gains.append(ranking_scores(keys, dict.fromkeys(asked.needed, 1), depth=DEPTH)[NDCG])
    found: dict[str, Any] = {
        kind: [round(fmean(column), 3) for column in zip(*rows, strict=True)] for kind, rows in hits.items()
    }
    found["ndcg"], found["characters"] = round(fmean(gains), 3), round(fmean(characters))
    known = best.pop("answerable")
    if best:
        best["all"] = [each for of in best.values() for each in of]
    for kind, unanswerable in best.items():
        calibration = calibrated([*known, *unanswerable], false_refusals=FALSE_REFUSALS)
        found["answerable_above"], found["false_refusals"] = calibration.above, str(calibration.false_refusals)
        found.setdefault("refused", {})[kind] = str(calibration.refused)
    return found


async def _vary(embedded: Embedded, documents: Sequence[Document], questions: Sequence[Asked], *, count: int) -> None:
    """Print what questions find alone, and with other wordings of them."""
    from tests.bench.followups import PlainModel  # noqa: PLC0415 - it needs another model

    rewrite = Rewrite(ask=PlainModel(MODELS / ANSWERS), timeout_s=_PATIENCE_S)
    hits: dict[tuple[str, str], list[list[bool]]] = {}
    async with indexed(embedded, documents, Built("default", HYBRID)) as rag:
        for asked in (each for each in questions if each.kind in VARIED):
            question = Question(deployment="bench", messages=(Message.of(Role.USER, asked.text),))
            made = await rewrite(ADA, "smollm2", question, turns=1, timeout_s=_PATIENCE_S, variants=count)
            rankings = [await _passages(rag, query) for query in (asked.text, *made.variants)]
            for way, found in (("alone", rankings[0]), (f"{count} variants", fused(rankings))):
                keys = list(dict.fromkeys(passage.key for passage in found))
                hits.setdefault((way, asked.kind), []).append([{*asked.needed} <= {*keys[:k]} for k in TOP])
    for way in dict.fromkeys(way for way, _ in hits):
        kinds = {kind: rows for (each, kind), rows in hits.items() if each == way}
        shares = {kind: [round(fmean(column), 3) for column in zip(*rows, strict=True)] for kind, rows in kinds.items()}
        print_line(set="harbour", ranking=way, **shares)


async def _passages(rag: Rag, query: str) -> Sequence[Passage]:
    found = (await rag.search(query, top_k=4 * TOP[-1])).passages
    return [from_message(Passage, passage_message(at, each), ignore=REST) for at, each in enumerate(found, start=1)]


def _depth(settings: SearchSettings) -> int:
    """Return how many passages are asked for: of many small ones of a document, one is enough."""
    return TOP[-1] if settings.diversity else 4 * TOP[-1]


async def _bare(embedded: Embedded, documents: Sequence[Document], questions: Sequence[Asked]) -> list[float]:
    """Return hit@1 and hit@2 of one vector a document, which is cut at the model's limit."""
    vectors = torch.tensor(await embedded.embed_passages("bench", [each.text for each in documents]))
    found = []
    for asked in questions:
        query = torch.tensor(await embedded.model.embed_query("bench", asked.text))
        nearest = [documents[position].key for position in (vectors @ query).topk(2).indices.tolist()]
        found.append([asked.needed[0] in nearest[:1], asked.needed[0] in nearest])
    return [round(fmean(column), 3) for column in zip(*found, strict=True)]


def harbour() -> tuple[Sequence[Document], Sequence[Asked]]:
    documents = yaml.safe_load((QUESTIONS / "documents.yaml").read_text(encoding="utf-8"))
    questions = yaml.safe_load((QUESTIONS / "questions.yaml").read_text(encoding="utf-8"))
    return (
        [Document(key, text, title, *language) for key, (title, text, *language) in documents.items()],
        [Asked(kind, text, needed) for kind, asked in questions.items() for text, *needed in asked],
    )


def python_library() -> tuple[Sequence[Document], Sequence[Asked]]:
    documents = corpus.documents()
    return (
        [Document(each.key, each.text, each.title, media_type=each.media_type) for each in documents],
        [Asked("python", each.question, [each.key]) for each in corpus.questions(documents, 200)],
    )


def print_line(**figures: object) -> None:
    sys.stdout.write(json.dumps({name: value for name, value in figures.items() if value is not None}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
