"""Prints what a save through an aggregate store takes, beside the bare driver on the same server.

The ways take turns, save by save, so that what else the machine does meets all of them alike; medians are printed.

Run with TIDEMILL_TEST_STACK naming a stack.json: `python -m tests.bench.aggregates [saves]`.
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any
from uuid import uuid4

from libs.kit.tests.notes import Note, notes_in
from tests.bench._figures import report
from tidemill_core.application import Request
from tidemill_kit.store.mongo import Database, connect
from tidemill_local.addresses import Addresses
from tidemill_testkit.clocks import NOON

LINES = 10
EVENTS_BEFORE_RELAY = 5

Way = Callable[[int], Awaitable[None]]


def state(number: int) -> dict[str, Any]:
    """Return the state that every way saves."""
    return {"lines": [f"line {number}"] * LINES, "colour": "white"}


async def bare(database: Database) -> Way:
    """Read a document and update it, as every store that decides on state has to; nothing else is done."""
    key = {"_id": "acme/bare"}
    await database["bare"].insert_one(key | {"version": 0, "state": {}})

    async def save(number: int) -> None:
        found = await database["bare"].find_one(key)
        assert found is not None
        change = {"$set": {"state": state(number)}, "$inc": {"version": 1}}
        await database["bare"].update_one(key | {"version": found["version"]}, change)

    return save


async def aggregates(database: Database, *, events: bool) -> Way:
    """Save through the store, with an event each or without."""
    notes, note_id = notes_in(database), "told" if events else "quiet"
    await notes.add(Note(id=note_id, project="acme"), request=Request.internal())

    async def save(number: int) -> None:
        def change(note: Note) -> None:
            if events:
                note.write("line", now=NOON)
            note.lines = state(number)["lines"]

        await notes.update("acme", note_id, change, request=Request.internal())

    return save


async def measured(save: Way, number: int) -> tuple[float, float]:
    """Return the milliseconds of one save, and of those this process's own."""
    begun, begun_cpu = perf_counter(), process_time()
    await save(number)
    return (perf_counter() - begun) * 1000, (process_time() - begun_cpu) * 1000


async def main(saves: int) -> None:
    """Measure each way on a document of its own, and print the ratios to the bare driver."""
    client = connect(Addresses.read(Path(os.environ["TIDEMILL_TEST_STACK"])).mongo, timeout_s=30)
    database = client[f"bench_{uuid4().hex[:8]}"]
    ways = {
        "bare find_one + update_one": await bare(database),
        "MongoAggregates.update": await aggregates(database, events=False),
        "MongoAggregates.update, one event each": await aggregates(database, events=True),
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for number in range(-saves // 10, saves):
        for name, save in ways.items():
            took = await measured(save, number)
            if number >= 0:
                times[name].append(took)
        if number % EVENTS_BEFORE_RELAY == 0:  # a stand-in for the relay, whose time is not the save's
            await database["notes"].update_one({"_id": "acme/told"}, {"$set": {"outbox": []}})
    medians = {name: [median(column) for column in zip(*rows, strict=True)] for name, rows in times.items()}
    bare_ms = medians["bare find_one + update_one"][0]
    for name, (took_ms, cpu_ms) in medians.items():
        row = f"{name:40} {took_ms:6.2f} ms {bare_ms / took_ms:6.2f} of bare {cpu_ms:6.2f} ms of CPU in this process\n"
        sys.stdout.write(row)
    report("aggregate_save", bare_ms / medians["MongoAggregates.update, one event each"][0], "x")
    await client.drop_database(database.name)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000))
