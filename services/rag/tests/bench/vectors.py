"""Measures the embedded vector store alone: search with all filters at 20,000 and 50,000 passages, and its recall.

No server is needed: `python -m services.rag.tests.bench.vectors`. The vectors are random, which is the hardest case for
an index that is not exact. Recall is the share of the 10 best of all passages that match, computed with numpy.
"""

import asyncio
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import numpy.typing as npt

from tests.bench._figures import report
from tidemill_core.application import derived_id
from tidemill_rag.vectors.edge import QdrantEdgeVectors
from tidemill_rag.vectors.ports import Payload, Point, Query, Where

INDEX = "acme/handbook/1"
DIMENSIONS = 384
SIZES = (20_000, 50_000)
QUESTIONS, WARM_UP = 100, 10
BATCH = 1000
BEST = 10
TEXT = "x" * 900
WHERE = Where(metadata={"product": ("vpn", "mail")}, sources=("cms",), principals=("staff",))
Vectors = npt.NDArray[np.float32]


def payload(number: int) -> Payload:
    """Return a passage's payload: of every eight passages three match all filters of `WHERE`."""
    return Payload(
        document=f"d{number // 2}",
        seq=1,
        version=1,
        start=0,
        end=len(TEXT),
        text=TEXT,
        source="cms" if number % 4 else "wiki",
        key=f"k{number // 2}",
        readers=() if number % 2 else ("staff",),
        metadata={"product": "vpn" if number % 8 < 4 else "printer"},
    )


def matches(number: int) -> bool:
    """Return whether a passage passes the filters."""
    found = payload(number)
    return found.source == "cms" and found.metadata["product"] == "vpn"


async def fill(vectors: QdrantEdgeVectors, chunks: Vectors, begin: int, end: int) -> None:
    """Add passages."""
    for at in range(begin, end, BATCH):
        points = [
            Point(id=derived_id(str(number)), vector=chunks[number].tolist(), payload=payload(number))
            for number in range(at, min(at + BATCH, end))
        ]
        await vectors.upsert(INDEX, points)


async def measured(vectors: QdrantEdgeVectors, chunks: Vectors, questions: Vectors) -> tuple[float, float]:
    """Return the median milliseconds of a search, and the recall of the ten best."""
    matching = np.array([number for number in range(len(chunks)) if matches(number)])
    took, recalls = list[float](), list[float]()
    for question in questions:
        begun = perf_counter()
        found = await vectors.search(INDEX, Query(vector=question.tolist()), limit=BEST, where=WHERE)
        took.append((perf_counter() - begun) * 1000)
        best = matching[np.argsort(-(chunks[matching] @ question))[:BEST]]
        ids = {derived_id(str(number)) for number in best}
        recalls.append(len(ids & {match.id for match in found}) / BEST)
    return median(took[WARM_UP:]), float(np.mean(recalls))


def unit(vectors: Vectors) -> Vectors:
    """Return the vectors with length 1."""
    scaled: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return scaled


async def main() -> None:
    """Measure at each size."""
    random = np.random.default_rng(7)
    chunks = unit(random.standard_normal((SIZES[-1], DIMENSIONS), dtype=np.float32))
    questions = unit(random.standard_normal((QUESTIONS + WARM_UP, DIMENSIONS), dtype=np.float32))
    recalls, there = list[float](), 0
    with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as folder:
        vectors = QdrantEdgeVectors(Path(folder))
        await vectors.create(INDEX, dimensions=DIMENSIONS)
        for size in SIZES:
            await fill(vectors, chunks, there, size)
            there = size
            took_ms, recall = await measured(vectors, chunks[:size], questions)
            recalls.append(recall)
            of_1000_ms = took_ms * 1000 / size
            sys.stdout.write(
                f"{size} passages: p50 {took_ms:.2f} ms, {of_1000_ms:.3f} for 1,000; recall {recall:.3f}\n"
            )
            report(f"search_{size // 1000}k", of_1000_ms, "ms")
        await vectors.close()
    report("recall_at_10", min(recalls), "")


if __name__ == "__main__":
    asyncio.run(main())
