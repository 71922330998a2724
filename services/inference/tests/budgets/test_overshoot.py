"""64 callers at once, over two processes on one MongoDB, get exactly what the budget has."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from services.inference.tests.budgets.overshooting import DAY, REQUESTS
from tidemill_inference.budgets.domain.budget import Kind
from tidemill_inference.budgets.mongo import MongoLedger
from tidemill_kit.store.mongo import connect
from tidemill_testkit.stack import unique_name

CALLS = 32
ROOT = Path(__file__).parents[4]


async def test_two_processes_with_64_callers_use_all_of_a_budget_and_no_more(request: pytest.FixtureRequest) -> None:
    uri, database = request.getfixturevalue("stack").mongo, unique_name("overshoot")
    client = connect(uri, timeout_s=10)
    await MongoLedger(client[database]["budget_counts"]).ensure_indexes()
    processes = [await _started(uri, database) for _ in range(2)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        await process.stdin.drain()

    ends = [json.loads(await _line(process)) for process in processes]
    await asyncio.gather(*(process.wait() for process in processes))

    used = (await MongoLedger(client[database]["budget_counts"]).state([DAY.id]))[DAY.id]
    answered = sum(each["answered"] for each in ends)
    assert answered == REQUESTS
    assert sum(each["refused"] for each in ends) == 2 * CALLS - REQUESTS
    assert used.reserved == {}
    assert used.used["daily"] == {Kind.REQUESTS: REQUESTS, Kind.TOKENS: 15 * REQUESTS, Kind.COST: 15_000 * REQUESTS}
    await client.drop_database(database)
    client.close()


async def _started(uri: str, database: str) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.inference.tests.budgets.overshooting",
        uri,
        database,
        str(CALLS),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert await _line(process) == b"ready\n"
    return process


async def _line(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None
    async with asyncio.timeout(120):
        return await process.stdout.readline()
