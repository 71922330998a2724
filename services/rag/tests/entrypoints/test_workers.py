"""The controller of index versions."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from services.rag.tests.fakes import ADA, Rag, request, spec
from tidemill_core.errors import DependencyUnavailable
from tidemill_rag.domain.collection import IndexRef
from tidemill_rag.domain.ledger import Row
from tidemill_rag.entrypoints.workers import IndexWorker

if TYPE_CHECKING:
    from services.rag.tests.fake_stores import InMemoryVectors

FIRST = IndexRef(project="acme", collection="handbook", number=1)


class Known:
    """The index versions of a rag."""

    def __init__(self, *refs: IndexRef) -> None:
        self.refs = refs

    async def unfinished(self) -> Sequence[IndexRef]:
        return []

    async def all(self) -> Sequence[IndexRef]:
        return self.refs


@asynccontextmanager
async def working(rag: Rag, *, known: Sequence[IndexRef] = ()) -> AsyncIterator[IndexWorker]:
    worker = IndexWorker(
        indexes=Known(*known), leases=rag.leases, vectors=rag.vectors, max_concurrent=2, poll_interval_s=3600
    )
    task = asyncio.create_task(worker.run(rag.reconcile))
    yield worker
    assert not task.done()
    task.cancel()
    await asyncio.wait([task])


async def eventually(rag: Rag, document: str, *, within_s: float = 10) -> None:
    deadline = monotonic() + within_s
    while document not in await rag.found("words"):
        assert monotonic() < deadline, f"{document} is not found"
        await asyncio.sleep(0.01)


async def test_it_reconciles_at_its_start_what_was_not_enqueued() -> None:
    rag = Rag()
    await rag.handbook()
    await rag.consume(rag.ingest.put("d1", "words"))

    async with working(rag, known=[FIRST]):
        await eventually(rag, "d1")


async def test_it_reconciles_what_is_enqueued() -> None:
    rag = Rag()
    await rag.handbook()

    async with working(rag) as worker:
        for number in range(3):
            await rag.consume(rag.ingest.put(f"d{number}", f"words {number}"))
            worker.enqueue(FIRST)
            await eventually(rag, f"d{number}")


async def test_it_waits_for_an_index_that_another_worker_holds() -> None:
    rag = Rag()
    await rag.handbook()
    await rag.consume(rag.ingest.put("d1", "words"))

    async with working(rag) as worker:
        async with rag.leases.held(FIRST):
            worker.enqueue(FIRST)
            await asyncio.sleep(0)
            assert await rag.found("words") == []
        await eventually(rag, "d1")


async def test_it_outlives_any_number_of_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    rag, failures = Rag(), iter(range(1100))
    await rag.handbook()
    await rag.consume(rag.ingest.put("d1", "words"))
    take = rag.ledger.take

    async def fail(*args: Any, **options: Any) -> Sequence[Row]:  # noqa: ANN401 - passed on
        if next(failures, None) is not None:
            message = "it is down"
            raise DependencyUnavailable(message, dependency="mongodb")
        return await take(*args, **options)

    monkeypatch.setattr(rag.ledger, "take", fail)
    monkeypatch.setattr("tidemill_rag.entrypoints.workers._FIRST_PAUSE_S", 0.0)
    async with working(rag, known=[FIRST]):
        await eventually(rag, "d1", within_s=60)


async def test_it_tries_again_what_failed() -> None:
    rag = Rag()
    await rag.handbook()
    await rag.consume(rag.ingest.put("d1", "words"))
    rag.vectors.down = True

    async with working(rag) as worker:
        worker.enqueue(FIRST)
        deadline = monotonic() + 10
        while not (await rag.collections.get("acme", "handbook")).indexes[0].message:
            assert monotonic() < deadline
            await asyncio.sleep(0.01)
        rag.vectors.down = False
        await eventually(rag, "d1")


async def test_an_index_that_breaks_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    rag = Rag()
    await rag.handbook()
    await rag.create(ADA, spec("other"), request=request("r2"))
    other = IndexRef(project="acme", collection="other", number=1)
    count = rag.ledger.count

    async def broken(index: IndexRef) -> object:
        if index == other:
            message = "bug"
            raise RuntimeError(message)
        return await count(index)

    monkeypatch.setattr(rag.ledger, "count", broken)
    await rag.consume(rag.ingest.put("d1", "words"))

    async with working(rag) as worker:
        worker.enqueue(other)
        worker.enqueue(FIRST)
        await eventually(rag, "d1")


async def test_it_sweeps_what_searches_found_stale() -> None:
    rag = Rag()
    rag.ingest.put("d1", "words", seq=2)
    await rag.handbook()
    vectors: InMemoryVectors = rag.vectors

    async with working(rag) as worker:
        worker.sweep(FIRST, "d1", 3)
        deadline = monotonic() + 10
        while await vectors.count(FIRST.key):
            assert monotonic() < deadline
            await asyncio.sleep(0.01)
