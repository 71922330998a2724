"""The parts of a build of a graph, and processes that write and are killed after each of them.

python -m services.rag.tests.vectors.killed_in_phases FOLDER
"""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from services.rag.tests.vectors.in_process import NAME, InProcessVectors, points
from services.rag.tests.vectors.test_vector_stores import INDEX
from tidemill_rag.vectors import edge_graphs
from tidemill_rag.vectors.build_graph import build
from tidemill_rag.vectors.edge import QdrantEdgeVectors


async def copied(store: QdrantEdgeVectors) -> str:
    """Copy the shard, as the first part of a build does; return the folder of the copy."""
    folder, _ = await store.call(partial(edge_graphs.begin, NAME))
    while await store.call(partial(edge_graphs.copy, NAME)):
        pass
    return folder


async def caught_up(store: QdrantEdgeVectors) -> int:
    return await store.call(partial(edge_graphs.catch_up, NAME))


async def swapped(store: QdrantEdgeVectors) -> None:
    """Do the last part of a build."""
    while await caught_up(store):
        pass
    await store.call(partial(edge_graphs.flush, NAME))
    await store.call(partial(edge_graphs.swap, NAME))


async def _while_copying(store: QdrantEdgeVectors) -> None:
    await store.call(partial(edge_graphs.begin, NAME))
    await store.call(partial(edge_graphs.copy, NAME))


async def _once_copied(store: QdrantEdgeVectors) -> None:
    await copied(store)


async def _once_built(store: QdrantEdgeVectors) -> None:
    assert build(await copied(store), 2, graph=True)


async def _once_caught_up(store: QdrantEdgeVectors) -> None:
    await _once_built(store)
    for _ in range(2):
        await caught_up(store)


async def _once_swapped(store: QdrantEdgeVectors) -> None:
    await _once_built(store)
    await swapped(store)


PHASES: dict[str, Callable[[QdrantEdgeVectors], Awaitable[None]]] = {
    "copying": _while_copying,
    "copied": _once_copied,
    "built": _once_built,
    "caught up": _once_caught_up,
    "swapped": _once_swapped,
}


async def write_and_die(phase: str, folder: Path) -> None:
    store = InProcessVectors(folder)
    await store.create(INDEX, dimensions=2)
    await store.upsert(INDEX, points())
    await PHASES[phase](store)
    await store.upsert(INDEX, points(0, 50, seq=2))
    await store.delete(INDEX, "d0", below_seq=2)
    os.kill(os.getpid(), signal.SIGKILL)


def main(folder: Path) -> None:
    """Fork for each phase, since the imports take longest, and print how each process has ended."""
    for phase in PHASES:
        (folder / phase).mkdir()
        if os.fork() == 0:
            asyncio.run(write_and_die(phase, folder / phase))
            os._exit(0)
        _, status = os.wait()
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201 - read by the test


if __name__ == "__main__":
    main(Path(sys.argv[1]))
