"""What a process that is killed had reserved of a budget comes to an end, and gives nothing out twice."""

import asyncio
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from services.inference.tests.budgets.budgeting import BudgetHarness
from services.inference.tests.budgets.overshooting import DAY, DECLARED, REQUESTS
from services.inference.tests.fakes import ADA, asking, question
from tidemill_inference.budgets.domain.budget import Kind
from tidemill_inference.budgets.domain.errors import BudgetExhausted
from tidemill_inference.budgets.mongo import MongoLedger
from tidemill_inference.budgets.records import RecordedSpending
from tidemill_inference.budgets.sweep_holds import SweepHolds
from tidemill_kit.store.mongo import connect
from tidemill_testkit.stack import unique_name

LOST = 7
ROOT = Path(__file__).parents[4]


async def test_a_killed_process_leaves_what_it_reserved_as_used_once_its_calls_must_have_ended(
    request: pytest.FixtureRequest,
) -> None:
    uri, database = request.getfixturevalue("stack").mongo, unique_name("death")
    client = connect(uri, timeout_s=10)
    ledger = MongoLedger(client[database]["budget_counts"])
    await _killed(uri, database)
    survivor = BudgetHarness(*DECLARED, ledger=ledger)
    sweep = SweepHolds(ledger=ledger, records=RecordedSpending(survivor.inferences), clock=survivor.clock)

    reserved = (await ledger.state([DAY.id]))[DAY.id]
    assert await sweep.charge_ended() == 0
    survivor.clock.advance(timedelta(minutes=3))
    charged = await sweep.charge_ended()
    again = await sweep.charge_ended()
    used = (await ledger.state([DAY.id]))[DAY.id]
    for number in range(REQUESTS - LOST):
        await survivor.answer.whole(ADA, question(), request=asking(f"r{number}"))
    with pytest.raises(BudgetExhausted, match=f"limits requests to {REQUESTS}"):
        await survivor.answer.whole(ADA, question(), request=asking("one too many"))

    assert reserved.reserved["daily"][Kind.REQUESTS] == LOST
    assert (charged, again) == (3 * LOST, 0)  # one count a day, one a minute, and one of the subject
    assert used.reserved == {}
    assert used.used == reserved.used
    await client.drop_database(database)
    client.close()


async def _killed(uri: str, database: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.inference.tests.budgets.dying",
        uri,
        database,
        str(LOST),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(120):
        assert await process.stdout.readline() == b"reserved\n"
    process.kill()
    await process.wait()
