"""Two processes of a service share its erasures: one works at a time, and the other goes on after it is killed."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from tidemill_core.application import Request, ResourceKey, SystemClock
from tidemill_kit.access.holds import Holds
from tidemill_kit.access.revocations import Revocations
from tidemill_kit.erasure.codec import ErasureCodec
from tidemill_kit.erasure.documents import documents
from tidemill_kit.erasure.erasures import REPORTS, Erasure, ErasureNotFound
from tidemill_kit.erasure.reconcile import ReconcileErasure
from tidemill_kit.erasure.steps import Scope, Step, Target
from tidemill_kit.store.aggregates import MongoAggregates
from tidemill_kit.store.mongo import Database, document_id
from tidemill_kit.workers.controller import Controller
from tidemill_kit.workers.leases import Leases
from tidemill_kit.workers.pending import PendingDocuments
from tidemill_testkit.polling import eventually

pytestmark = pytest.mark.server

TTL, POLL = timedelta(seconds=1.5), timedelta(milliseconds=100)


class Replica:
    """One process of the service."""

    def __init__(self, name: str, database: Database, after_batch: Callable[[str], None]) -> None:
        revocations = Revocations()
        revocations.complete = True
        collection = database["erasures"]
        self.rows = MongoAggregates(
            collection, codec=ErasureCodec("rag"), topic=REPORTS, source="/tidemill/rag", missing=ErasureNotFound
        )
        notes = documents("notes", database["notes"])
        self.running = 0

        async def erase(target: Target) -> int:
            erased = await notes.erase(target)
            after_batch(name)
            await asyncio.sleep(0)  # where it may be killed
            return erased

        reconcile = ReconcileErasure(
            erasures=self.rows,
            steps={Scope.PROJECT: [Step(kind="notes", erase=erase)]},
            holds=Holds(revocations),
            clock=SystemClock(),
            recheck=timedelta(milliseconds=200),
            poll=POLL,
        )
        self.pending = PendingDocuments(collection, {"state.pending": True}, index="state.pending", sparse=True)
        self.controller: Controller[ResourceKey] = Controller(
            "erasures",
            reconcile=lambda key, epoch: reconcile(key, epoch=epoch),
            pending=self.pending,
            leases=Leases(database["leases"], owner=name, ttl=TTL, clock=SystemClock(), removable=True),
            max_concurrent=2,
            poll_interval=POLL,
        )

    async def start(self) -> None:
        await self.rows.ensure_indexes()
        await self.pending.ensure_indexes()
        await self.controller.start()


async def test_an_erasure_is_finished_by_another_process_and_reported_once(database: Database) -> None:
    now = SystemClock().now()
    batches: list[str] = []
    killed = asyncio.Event()
    replicas: dict[str, Replica] = {}

    def after_batch(name: str) -> None:
        batches.append(name)
        if len(batches) == 2:  # in the middle: no more of this process happens, and its lease stays until it runs out
            killed.set()
            raise asyncio.CancelledError

    await database["notes"].insert_many(
        [{"_id": document_id(project, f"n{number}")} for project in ("acme", "globex") for number in range(1600)]
    )
    for name in ("a", "b"):
        replicas[name] = Replica(name, database, after_batch)
    erasure = Erasure(id="e1", project="acme", scope=Scope.PROJECT, request_time=now, not_before=now)
    await replicas["a"].rows.add(erasure, request=Request.internal())
    for each in replicas.values():
        await each.start()
    try:
        await asyncio.wait_for(killed.wait(), 20)
        await eventually(lambda: _completed(database))
    finally:
        for each in replicas.values():
            await each.controller.stop()

    document = await database["erasures"].find_one({"_id": "acme/e1"})
    assert document is not None
    assert document["state"]["counts"][0]["count"] in {1100, 1600}  # of a killed batch the count may be missing
    assert [entry["seq"] for entry in document["outbox"]] == [1]
    assert await database["notes"].count_documents({}) == 1600


async def _completed(database: Database) -> bool:
    return await database["erasures"].find_one({"state.state": "COMPLETED"}) is not None
