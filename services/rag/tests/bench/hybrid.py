"""Measures hybrid search of the embedded vector store among 100,000 passages, narrowed by readers and metadata.

No server is needed: `python -m services.rag.tests.bench.hybrid [passages] [--kept FOLDER]`. The passages are pieces of
docstrings, with BM25's terms and the vectors of `graph`, all of one project: another one's are in another index.
The questions are the first words of further pieces. An index version of this size has a graph for its vectors, which is
built first; recall is the share of the 10 best by exact search of the same index, before it had one.
`--kept` keeps the filled store, the one with a graph and the questions in a folder, or measures what is there.
"""

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import active_children
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import psutil

from services.rag.tests.bench.graph import embedded, shuffled
from services.rag.tests.bench.vectors import BATCH, BEST, INDEX, WHERE, Vectors, payload
from tests.bench._figures import report
from tidemill_core.application import derived_id
from tidemill_rag.collections.domain.search_settings import SearchSettings
from tidemill_rag.embedding.bm25 import Bm25Embedding
from tidemill_rag.vectors.edge import QdrantEdgeVectors
from tidemill_rag.vectors.graph_builds import GraphBuilds
from tidemill_rag.vectors.ports import Point, Query, Where

SIZE = 100_000
QUESTIONS, WARM_UP = 200, 10
QUESTION_WORDS = 10
LIMIT = 2 * BEST + 4
"""What a search of ten passages asks the store for, as some of them may be stale."""
LANGUAGES = ("en",)
FILTERS: Mapping[str, Where] = {"readers": Where(principals=("staff",)), "readers, source and metadata": WHERE}
EXACT, GRAPH, TEXTS = "exact", "graph", "questions.json"
"""What a folder has: the store as it was filled, the one with a graph, and the questions."""
Found = Sequence[Sequence[str]]


async def fill(vectors: QdrantEdgeVectors, pieces: Sequence[str], dense: Vectors) -> None:
    """Store the passages with both kinds of vectors."""
    for at in range(0, len(pieces), BATCH):
        part = pieces[at : at + BATCH]
        terms = await Bm25Embedding().embed_passages([("en", text) for text in part], languages=LANGUAGES)
        points = [
            Point(id=derived_id(str(number)), vector=dense[number].tolist(), payload=payload(number), sparse=sparse)
            for number, sparse in enumerate(terms, at)
        ]
        await vectors.upsert(INDEX, points)


async def asked(pieces: Sequence[str], dense: Vectors) -> Sequence[Query]:
    """Return questions as a collection with its default weights asks them."""
    terms = [await Bm25Embedding().embed_query(text, languages=LANGUAGES) for text in pieces]
    return [
        Query(vector=vector.tolist(), sparse=sparse, sparse_weight=SearchSettings().sparse_weight)
        for vector, sparse in zip(dense, terms, strict=True)
    ]


@dataclass(frozen=True)
class Searched:
    """What searches took, in milliseconds and in order, with the processor's time of one, and the ids of their best."""

    took_ms: Sequence[float]
    processor_ms: float
    found: Found

    def said(self, when: str, name: str, exact: Found) -> tuple[float, float]:
        """Print a row, and return the 95th percentile and the recall."""
        p50, p95 = median(self.took_ms), self.took_ms[len(self.took_ms) * 95 // 100]
        shares = [len(set(one) & set(best)) / max(1, len(best)) for one, best in zip(self.found, exact, strict=True)]
        recall = float(np.mean(shares))
        times = f"p50 {p50:.1f} ms, p95 {p95:.1f} ms, processor {self.processor_ms:.1f} ms"
        sys.stdout.write(f"{when}, {name}: {times}, recall@{BEST} {recall:.4f}\n")
        sys.stdout.flush()
        return p95, recall


async def measured(vectors: QdrantEdgeVectors, queries: Sequence[Query], where: Where) -> Searched:
    """Search by each question."""
    took, found = list[float](), list[Sequence[str]]()
    (child,) = active_children()
    before = sum(psutil.Process(child.pid).cpu_times()[:2])
    for query in queries:
        begun = perf_counter()
        matches = await vectors.search(INDEX, query, limit=LIMIT, where=where)
        took.append((perf_counter() - begun) * 1000)
        found.append([match.id for match in matches[:BEST]])
    spent_ms = (sum(psutil.Process(child.pid).cpu_times()[:2]) - before) * 1000 / len(queries)
    return Searched(sorted(took[WARM_UP:]), spent_ms, found)


async def prepare(size: int, folder: Path) -> None:
    """Fill a store, and build the graph of a copy of it."""
    pieces = shuffled(size + QUESTIONS + WARM_UP)
    size = len(pieces) - QUESTIONS - WARM_UP
    pieces[size:] = [" ".join(text.split()[:QUESTION_WORDS]) for text in pieces[size:]]
    dense = embedded(pieces)
    vectors, begun = QdrantEdgeVectors(folder / EXACT), perf_counter()
    await vectors.create(INDEX, dimensions=dense.shape[1], sparse=True)
    await fill(vectors, pieces[:size], dense[:size])
    await vectors.close()
    sys.stdout.write(f"{size} passages, stored in {perf_counter() - begun:.0f} s\n")
    shutil.copytree(folder / EXACT, folder / GRAPH)
    vectors, begun = QdrantEdgeVectors(folder / GRAPH), perf_counter()
    assert await vectors.count(INDEX) == size
    assert await GraphBuilds(vectors, min_chunks=size).build_next()
    await vectors.close()
    sys.stdout.write(f"graph built in {perf_counter() - begun:.0f} s\n")
    np.save(folder / "questions.npy", dense[size:])
    (folder / TEXTS).write_text(json.dumps(pieces[size:]), encoding="utf-8")


async def measure(folder: Path) -> None:
    """Measure exact search, and that by a graph."""
    queries = await asked(json.loads((folder / TEXTS).read_text(encoding="utf-8")), np.load(folder / "questions.npy"))
    exact, p95, recall = dict[str, Found](), 0.0, 0.0
    for when in (EXACT, GRAPH):
        vectors = QdrantEdgeVectors(folder / when)
        await vectors.count(INDEX)  # opens it
        for name, where in FILTERS.items():
            searched = await measured(vectors, queries, where)
            p95, recall = searched.said(when, name, exact.setdefault(name, searched.found))
        await vectors.close()
    report("search_100k_p95", p95, "ms")
    report("search_100k_recall", recall, "")


async def main() -> None:
    """Prepare what is not there, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("passages", type=int, nargs="?", default=SIZE)
    parser.add_argument("--kept", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as passing:
        folder = options.kept or Path(passing)
        if not (folder / TEXTS).exists():
            await prepare(options.passages, folder)
        await measure(folder)


if __name__ == "__main__":
    asyncio.run(main())
