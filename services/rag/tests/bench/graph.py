"""Measures the embedded vector store before, while and after a graph is built: searches, recall, memory, disk.

No server is needed: `python -m services.rag.tests.bench.graph [passages]`. The vectors are of real text, pieces of the
docstrings of installed packages: the embedding model's own word vectors, weighted by how rare the words are. Random
vectors would say nothing of a graph, because all are equally far from each other. Recall is the share of the 10 best of
all passages that match, computed with numpy.
"""

import asyncio
import re
import resource
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import active_children
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from services.rag.tests.bench.vectors import BEST, INDEX, WHERE, Vectors, fill, matches, payload, unit
from tidemill_core.application import derived_id
from tidemill_local.models import EMBEDDINGS
from tidemill_local.places import MODELS
from tidemill_rag.vectors.edge import QdrantEdgeVectors
from tidemill_rag.vectors.graph_builds import GraphBuilds
from tidemill_rag.vectors.ports import Query, Where

SIZE = 60_000
QUESTIONS, WARM_UP = 100, 10
PIECE = 300
"""Characters of a passage."""


@dataclass(frozen=True)
class Filtered:
    """A filter, and which passages it matches."""

    name: str
    where: Where
    matches: Callable[[int], bool]


FILTERS = (
    Filtered("no filter", Where(principals=("staff",)), lambda _: True),
    Filtered("readers", Where(), lambda number: not payload(number).readers),
    Filtered("all filters", WHERE, matches),
)


def texts(count: int) -> Iterator[str]:
    """Yield different pieces of docstrings."""
    seen = set[str]()
    for root in (sysconfig.get_paths()["stdlib"], sysconfig.get_paths()["purelib"]):
        for file in sorted(Path(root).rglob("*.py")):
            for found in re.findall(r'"""(.*?)"""', file.read_text(errors="ignore"), re.DOTALL):
                text = " ".join(found.split())
                for begin in range(0, len(text) - PIECE // 4, PIECE):
                    piece = text[begin : begin + PIECE]
                    if len(seen) < count and piece not in seen:
                        seen.add(piece)
                        yield piece
            if len(seen) == count:
                return


def shuffled(count: int) -> list[str]:
    """Return so many pieces in an order that is the same each time."""
    pieces = list(texts(count))
    np.random.default_rng(7).shuffle(pieces)
    return pieces


def embedded(pieces: Sequence[str]) -> Vectors:
    """Return the vectors of pieces of text."""
    tokenizer = Tokenizer.from_file(str(MODELS / EMBEDDINGS / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokens = [each.ids for each in tokenizer.encode_batch(list(pieces), add_special_tokens=False)]
    weights = load_file(MODELS / EMBEDDINGS / "model.safetensors")
    words = next(value for name, value in weights.items() if name.endswith("word_embeddings.weight"))
    in_texts = np.zeros(len(words))
    for each in tokens:
        in_texts[list(set(each))] += 1
    rare = np.log(len(tokens) / (1 + in_texts)).clip(0).astype(np.float32)
    vectors = np.stack([rare[each] @ words[each].astype(np.float32) for each in tokens])
    vectors = unit(vectors + 1e-6)
    return unit(vectors - vectors.mean(axis=0))


async def searched(vectors: QdrantEdgeVectors, question: Vectors, where: Where) -> tuple[float, set[str]]:
    """Return the milliseconds of a search, and what it found."""
    begun = perf_counter()
    found = await vectors.search(INDEX, Query(vector=question.tolist()), limit=BEST, where=where)
    return (perf_counter() - begun) * 1000, {match.id for match in found}


async def measure(vectors: QdrantEdgeVectors, chunks: Vectors, questions: Vectors, when: str) -> None:
    """Print median and recall for each filter."""
    for filtered in FILTERS:
        matching = np.array([number for number in range(len(chunks)) if filtered.matches(number)])
        took, recalls = list[float](), list[float]()
        for question in questions:
            took_ms, found = await searched(vectors, question, filtered.where)
            best = matching[np.argsort(-(chunks[matching] @ question))[:BEST]]
            took.append(took_ms)
            recalls.append(len({derived_id(str(number)) for number in best} & found) / BEST)
        p50, recall = median(took[WARM_UP:]), float(np.mean(recalls))
        sys.stdout.write(f"{when}, {filtered.name} ({len(matching)} match): p50 {p50:.2f} ms, recall {recall:.4f}\n")


def megabytes(field: str) -> float:
    """Return a figure of the store's process."""
    (child,) = active_children()
    for line in Path(f"/proc/{child.pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    return 0.0


def disk(folder: Path) -> float:
    """Return the megabytes on the disk."""
    return sum(path.stat().st_blocks for path in folder.rglob("*")) * 512 / 1e6


async def built(vectors: QdrantEdgeVectors, questions: Vectors, size: int) -> None:
    """Build the graph beside searches, one every 50 ms."""
    begun, peak = perf_counter(), disk(vectors.folder)
    building = asyncio.create_task(GraphBuilds(vectors, min_chunks=size).build_next())
    took = list[float]()
    while not building.done():
        took_ms, _ = await searched(vectors, questions[len(took) % len(questions)], WHERE)
        took.append(took_ms)
        peak = max(peak, disk(vectors.folder)) if len(took) % 20 == 0 else peak
        await asyncio.sleep(0.05)
    assert await building
    took.sort()
    sys.stdout.write(
        f"built in {perf_counter() - begun:.0f} s; searches meanwhile p50 {median(took):.2f} ms, "
        f"p99 {took[len(took) * 99 // 100]:.1f} ms, at most {took[-1]:.0f} ms; the process that builds took "
        f"{resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:.0f} MB; disk at most {peak:.0f} MB\n"
    )


async def main() -> None:
    """Measure before, while and after."""
    size = int(sys.argv[1]) if len(sys.argv) > 1 else SIZE
    every = embedded(shuffled(size + QUESTIONS + WARM_UP))
    chunks, questions = every[:size], every[size:]
    size = len(chunks)
    with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as folder:
        vectors = QdrantEdgeVectors(Path(folder))
        await vectors.create(INDEX, dimensions=chunks.shape[1])
        await fill(vectors, chunks, 0, size)
        sys.stdout.write(f"{size} passages: store {megabytes('VmRSS'):.0f} MB, disk {disk(Path(folder)):.0f} MB\n")
        await measure(vectors, chunks, questions, "before")
        await built(vectors, questions, size)
        await measure(vectors, chunks, questions, "after")
        sys.stdout.write(f"afterwards: store {megabytes('VmRSS'):.0f} MB, disk {disk(Path(folder)):.0f} MB\n")
        await vectors.close()


if __name__ == "__main__":
    asyncio.run(main())
