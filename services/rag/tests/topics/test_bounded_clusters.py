"""Clusters from a process of its own."""

from typing import Any, Literal, cast

import numpy as np
import pytest

from tidemill_core.errors import DependencyUnavailable
from tidemill_kit.workers.bounded_processes import BoundedProcesses, ProcessLimits, WorkEndedError
from tidemill_rag.errors import TopicsTooCostly
from tidemill_rag.topics.bounded_clusters import IMPORTS, BoundedClusters
from tidemill_rag.topics.domain import Sampled

LIMITS = ProcessLimits(workers=1, cpu_s=60.0, wall_s=300.0, memory_bytes=2 << 30, share=1)


def sampled(number: int) -> Sampled:
    vector = np.eye(4, dtype=np.float32)[number % 2].tobytes()
    text = ("vpn tunnel", "lunch menu")[number % 2]
    return Sampled(document=f"d{number:02}", source="cms", key="k", title="", time=None, vector=vector, text=text)


async def test_clusters_are_those_of_the_documents() -> None:
    processes = BoundedProcesses(LIMITS, "tests", IMPORTS)
    compute = BoundedClusters(processes)

    found = await compute("acme", [sampled(number) for number in range(30)], count=0)

    assert found.members == tuple(number % 2 for number in range(30))
    assert {term.term for term in found.terms[1]} == {"lunch", "menu"}
    await processes.stop()


class Ends:
    """Processes whose work ends without a result."""

    def __init__(self, cause: Literal["cpu", "wall", "crashed", "died", "failed"]) -> None:
        self.ended = WorkEndedError(cause=cause, why="took more than 60 s")

    async def run(self, *_: object) -> None:
        raise self.ended


@pytest.mark.parametrize(
    ("cause", "error", "message"),
    [
        ("cpu", TopicsTooCostly, "computing the topics took more than 60 s: ask for fewer sources"),
        ("crashed", TopicsTooCostly, "RAG_TOPIC_MAX_DOCUMENTS"),
        ("wall", DependencyUnavailable, "computing the topics took more than 60 s: try again"),
        ("died", DependencyUnavailable, "try again"),
        ("failed", WorkEndedError, "took"),
    ],
)
async def test_work_that_ends_says_whose_fault_it_is(cause: Any, error: type[Exception], message: str) -> None:  # noqa: ANN401 - a literal
    compute = BoundedClusters(cast("BoundedProcesses", Ends(cause)))
    with pytest.raises(error, match=message):
        await compute("acme", [sampled(0)], count=0)
