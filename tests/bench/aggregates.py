"""Prints how many saves a second an aggregate store does, beside the bare driver on the same server.

Run with TIDEMILL_TEST_STACK naming a stack.json: `python tests/bench/aggregates.py [saves]`.
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import perf_counter, process_time
from typing import Any
from uuid import uuid4

from libs.kit.tests.notes import Note, notes_in
from tidemill_core.application import Request
from tidemill_kit.store.mongo import Database, connect
from tidemill_local.addresses import Addresses
from tidemill_testkit.clocks import NOON

WORKERS = 8
LINES = 10


async def bare_driver(database: Database, *, worker: int, saves: int) -> None:
    """Set a state of the same size, and nothing else: one write a save, no read, no race decided."""
    key: dict[str, Any] = {"_id": f"acme/bare-{worker}"}
    await database["bare"].insert_one(key | {"version": 0, "state": {}})
    for number in range(saves):
        state = {"lines": [f"line {number}"] * LINES, "colour": "white"}
        await database["bare"].update_one(key | {"version": number}, {"$set": {"state": state}, "$inc": {"version": 1}})


async def bare_load_and_save(database: Database, *, worker: int, saves: int) -> None:
    """Read the document first, as every store that decides on state has to."""
    key: dict[str, Any] = {"_id": f"acme/load-{worker}"}
    await database["bare"].insert_one(key | {"version": 0, "state": {}})
    for number in range(saves):
        found = await database["bare"].find_one(key)
        assert found is not None
        state = {"lines": [f"line {number}"] * LINES, "colour": "white"}
        change = {"$set": {"state": state}, "$inc": {"version": 1}}
        await database["bare"].update_one(key | {"version": found["version"]}, change)


async def aggregates(database: Database, *, worker: int, saves: int, events: bool = False) -> None:
    """Save through the store; with events, and a stand-in for the relay that empties the outbox now and then."""
    notes = notes_in(database)
    note_id = f"{'told' if events else 'quiet'}-{worker}"
    await notes.add(Note(id=note_id, project="acme"), request=Request.of("", b""))
    for number in range(saves):

        def change(note: Note, number: int = number) -> None:
            if events:
                note.write("line", now=NOON)
            note.lines = [f"line {number}"] * LINES

        await notes.update("acme", note_id, change, request=Request.of("", b""))
        if events and number % 5 == 4:
            await database["notes"].update_one({"_id": f"acme/{note_id}"}, {"$set": {"outbox": []}})


async def measured(
    work: Callable[..., Awaitable[None]], database: Database, saves: int, **options: bool
) -> tuple[float, float]:
    """Return the saves of all workers together in a second, and this process's own milliseconds for one."""
    before, cpu_before = perf_counter(), process_time()
    async with asyncio.TaskGroup() as group:
        for worker in range(WORKERS):
            group.create_task(_done(work(database, worker=worker, saves=saves // WORKERS, **options)))
    return saves / (perf_counter() - before), (process_time() - cpu_before) * 1000 / saves


async def _done(work: Awaitable[None]) -> None:
    await work


async def main() -> None:
    """Measure each way on documents of its own, and print the ratios to the bare update_one."""
    saves = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    client = connect(Addresses.read(Path(os.environ["TIDEMILL_TEST_STACK"])).mongo, timeout_s=30)
    database = client[f"bench_{uuid4().hex[:8]}"]
    await measured(bare_driver, client[f"warm_{database.name}"], saves // 4)
    bare = await measured(bare_driver, database, saves)
    rows = {
        "bare update_one": bare,
        "bare find_one + update_one": await measured(bare_load_and_save, database, saves),
        "MongoAggregates.update": await measured(aggregates, database, saves),
        "MongoAggregates.update, one event each": await measured(aggregates, database, saves, events=True),
    }
    for name, (rate, cpu_ms) in rows.items():
        row = f"{name:40} {rate:8.0f} saves/s {rate / bare[0]:6.2f} of bare {cpu_ms:8.2f} ms of CPU in this process\n"
        sys.stdout.write(row)
    for name in (database.name, f"warm_{database.name}"):
        await client.drop_database(name)


if __name__ == "__main__":
    asyncio.run(main())
