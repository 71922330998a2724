"""What weights of 8 bits gain and lose: documents a second beside torch, and nDCG@10 of the sets of `retrieval`.

`python -m tests.bench.quantization [--speed] [--quality]`; no server is needed. Speed is that of a quarter of
examples/helpdesk's documents, whole, cut at the model's limit, all in turns: torch in float32 as sentence-transformers
uses it (batches of 32 by length, one pass at a time on all cores), torch as the service uses it, and the graph of 8
bits. For a processor without AVX-512 set ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2, which torch obeys and ONNX
Runtime does not.

Quality is the mean of nDCG@10 by documents, with the interval of 95 % of the paired difference to float32 (bootstrap
over questions): passages and questions of 8 bits, and questions of 8 bits on passages of float32.
"""

import argparse
import asyncio
import json
import math
import os
import random
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean, median
from time import perf_counter, process_time
from typing import Any

import psutil
import torch

from services.rag.tests.fakes import ADA, spec, write
from services.rag.tests.tokenizing import tokenizer_here
from tests.bench._figures import report
from tests.bench.retrieval import PARTS, Asked, Built, Document, Embedded, harbour, indexed, python_library
from tidemill_core.application import derived_id
from tidemill_kit.models.numeric_format import computed_format
from tidemill_local.models import EMBEDDINGS
from tidemill_local.places import MODELS
from tidemill_rag.collections.domain.search_settings import SearchSettings
from tidemill_rag.embedding.batched import BatchedEmbedding
from tidemill_rag.embedding.config import EmbeddingConfig
from tidemill_rag.embedding.export import export
from tidemill_rag.embedding.onnx_runtime import OnnxEmbedding
from tidemill_rag.embedding.thread import EmbeddingThreads
from tidemill_rag.embedding.transformers import TransformersEmbedding

FOLDER = MODELS / EMBEDDINGS
ROUNDS = 3
DEPTH = 10
PASSAGES = 4 * DEPTH
RESAMPLES = 2000
WAYS: Mapping[str, SearchSettings] = {"dense": SearchSettings(sparse_weight=0.0), "hybrid": SearchSettings()}
BATCH = 32
"""Texts of a pass of sentence-transformers, by default."""


def models(bits: int) -> Mapping[str, BatchedEmbedding]:
    """Return the model in each way, by its name."""
    threads, config = EmbeddingThreads(os.cpu_count() or 1), EmbeddingConfig.of(FOLDER)
    tokenizer = tokenizer_here(FOLDER)
    graph = Path(tempfile.mkdtemp(prefix="tidemill-graph-")) / "model.onnx"
    begun = perf_counter()
    assert not export(str(FOLDER), str(graph), bits)
    say(exported_s=round(perf_counter() - begun, 1), graph_mb=graph.stat().st_size >> 20)
    opened = partial(TransformersEmbedding, FOLDER, threads, tokenizer, config)
    return {
        "float32": opened(),
        computed_format("auto"): opened(numeric_format=computed_format("auto")),
        "int8": OnnxEmbedding(graph, threads, tokenizer, config),
    }


async def speed(of: Mapping[str, BatchedEmbedding]) -> None:
    """Print documents a second, in turns."""
    documents, _ = python_library()
    texts = [each.text for each in documents[::4]]
    plain = of["float32"]
    tokens = await plain._tokenizer.encode("bench", texts, limit=plain.max_tokens)  # noqa: SLF001 - what all begin with
    ways: dict[str, Callable[[], Any]] = {"torch float32, plain": lambda: asyncio.to_thread(_plainly, plain, tokens)}
    ways |= {name: partial(model._embedded, "bench", tokens) for name, model in of.items()}  # noqa: SLF001 - ditto
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, work in ways.items():
            begun, spent = perf_counter(), process_time()
            await work()
            took[name].append((perf_counter() - begun, process_time() - spent))
    base = {name: (median(s for s, _ in each), median(c for _, c in each)) for name, each in took.items()}
    first = base["torch float32, plain"]
    for name, (seconds, spent) in base.items():
        say(
            way=name,
            documents_per_s=round(len(texts) / seconds, 1),
            beside_float32=round(first[0] / seconds, 2),
            by_processor_time=round(first[1] / spent, 2),
        )
    say(documents=len(texts), tokens=sum(map(len, tokens)), resident_mb=psutil.Process().memory_info().rss >> 20)
    report("embedding_speed", first[0] / base["int8"][0], "x")


def _plainly(model: BatchedEmbedding, tokens: Sequence[Sequence[int]]) -> None:
    torch.set_num_threads(os.cpu_count() or 1)
    try:
        ordered = sorted(tokens, key=len, reverse=True)
        for begin in range(0, len(ordered), BATCH):
            model._embed(ordered[begin : begin + BATCH])  # noqa: SLF001 - a pass
    finally:
        torch.set_num_threads(1)


class Mixed:
    """Embeds passages by one model and questions by another."""

    def __init__(self, passages: Embedded, questions: BatchedEmbedding) -> None:
        self._passages, self._questions = passages, questions

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - what the model has
        return getattr(self._passages, name)

    async def load(self, _caller: object, _resolved: str, **_: object) -> "Mixed":
        """Return this."""
        return self

    async def embed_query(self, project: str, text: str) -> Sequence[float] | None:
        """Embed by the other."""
        return await self._questions.embed_query(project, text)


async def quality(of: Mapping[str, BatchedEmbedding]) -> None:
    """Print nDCG@10 of each way, and its difference to float32."""
    whole: Any = Embedded(model=of["float32"])  # type: ignore[arg-type]  # a model as any
    int8: Any = Embedded(model=of["int8"])  # type: ignore[arg-type]  # ditto
    kinds = {"float32": whole, "int8": int8, "int8 questions": Mixed(whole, of["int8"])}
    everywhere: dict[str, list[float]] = {kind: [] for kind in kinds}
    for name, (documents, questions) in {"harbour": harbour(), "python": python_library()}.items():
        found = {kind: await _ndcg(embedded, documents, questions) for kind, embedded in kinds.items()}
        for kind, by_way in found.items():
            everywhere[kind] += by_way["hybrid"]
        for way in WAYS:
            exact = found["float32"][way]
            say(set=name, way=way, kind="float32", ndcg=round(fmean(exact), 4), questions=len(exact))
            for kind in ("int8", "int8 questions"):
                low, high = _interval([mine - theirs for mine, theirs in zip(found[kind][way], exact, strict=True)])
                loss = 1 - fmean(found[kind][way]) / fmean(exact)
                say(
                    set=name,
                    way=way,
                    kind=kind,
                    ndcg=round(fmean(found[kind][way]), 4),
                    loss_percent=round(100 * loss, 2),
                    difference=[round(low, 4), round(high, 4)],
                )
    report("embedding_loss", 100 * (1 - fmean(everywhere["int8"]) / fmean(everywhere["float32"])), "%")


async def _ndcg(
    embedded: Any,  # noqa: ANN401 - stands for a registry with one model
    documents: Sequence[Document],
    questions: Sequence[Asked],
) -> Mapping[str, Sequence[float]]:
    found: dict[str, list[float]] = {}
    async with indexed(embedded, documents, Built("default", WAYS)) as rag:
        for way, settings in WAYS.items():
            search = replace(spec(PARTS[0]), search=settings)
            await rag.crud.update(ADA, search, frozenset({"search"}), write(derived_id(f"{settings}")))
            for asked in (each for each in questions if each.needed):
                passages = (await rag.search(asked.text, top_k=PASSAGES)).passages
                keys = list(dict.fromkeys(passage.payload.key for passage in passages))[:DEPTH]
                gain = sum(1 / math.log2(rank + 2) for rank, key in enumerate(keys) if key in asked.needed)
                ideal = sum(1 / math.log2(rank + 2) for rank in range(min(DEPTH, len(asked.needed))))
                found.setdefault(way, []).append(gain / ideal)
    return found


def _interval(differences: Sequence[float]) -> tuple[float, float]:
    chance = random.Random(7)  # noqa: S311 - resampling
    means = sorted(fmean(chance.choices(differences, k=len(differences))) for _ in range(RESAMPLES))
    return means[RESAMPLES // 40], means[-RESAMPLES // 40]


def say(**figures: object) -> None:
    """Print at once."""
    sys.stdout.write(json.dumps(figures) + "\n")
    sys.stdout.flush()


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--speed", action="store_true", help="only documents a second")
    parser.add_argument("--quality", action="store_true", help="only nDCG")
    parser.add_argument("--bits", type=int, default=8, help="of a weight: 7 where a processor has no VNNI")
    given = parser.parse_args()
    say(cores=os.cpu_count(), native=computed_format("auto"), load=round(os.getloadavg()[0], 1))
    of = await asyncio.to_thread(models, given.bits)
    if given.speed or not given.quality:
        await speed(of)
    if given.quality or not given.speed:
        await quality(of)


if __name__ == "__main__":
    asyncio.run(main())
