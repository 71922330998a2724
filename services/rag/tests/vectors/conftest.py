from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.rag.tests.vectors.in_process import InProcessVectors
from services.rag.tests.vectors.test_vector_stores import INDEX
from tidemill_rag.vectors import edge_graphs
from tidemill_rag.vectors.edge import QdrantEdgeVectors


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[QdrantEdgeVectors]:
    made = InProcessVectors(tmp_path)
    await made.create(INDEX, dimensions=2)
    yield made
    await made.call(edge_graphs.discard)
    await made.close()
