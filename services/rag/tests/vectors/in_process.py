"""The embedded store without its child process, for tests of what that does."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from services.rag.tests.vectors.test_vector_stores import INDEX, point
from tidemill_core.application import derived_id
from tidemill_rag.vectors import edge_shards
from tidemill_rag.vectors.edge import QdrantEdgeVectors
from tidemill_rag.vectors.ports import Point

T = TypeVar("T")

POINTS = 300
NAME = derived_id(INDEX)


class InProcessVectors(QdrantEdgeVectors):
    """Does in this process what the child process does; `close` and another use are a restart."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        edge_shards.use(folder, max_open=10)

    async def call(self, work: Callable[[], T]) -> T:
        return work()

    async def close(self) -> None:
        edge_shards.close()


def points(begin: int = 0, end: int = POINTS, *, seq: int = 1) -> list[Point]:
    chance = random.Random(begin)  # noqa: S311 - vectors of a test
    return [
        point(f"d{number}", seq=seq, vector=(chance.uniform(-1, 1), chance.uniform(-1, 1)))
        for number in range(begin, end)
    ]
