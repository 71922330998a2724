"""One of two processes that share a budget: answers many calls at once, and prints how many it could answer.

python -m services.inference.tests.budgets.overshooting MONGO_URI DATABASE CALLS
"""

import asyncio
import json
import sys

from services.inference.tests.budgets.budgeting import BudgetHarness, budget, price
from services.inference.tests.fakes import ADA, ScriptedEngine, asking, question
from tidemill_inference.budgets.domain.budget import Per, Window
from tidemill_inference.budgets.domain.errors import BudgetExhausted
from tidemill_inference.budgets.domain.hold import Count
from tidemill_inference.budgets.mongo import MongoLedger
from tidemill_kit.store.mongo import connect
from tidemill_testkit.clocks import NOON

REQUESTS, TOKENS, COST = 40, 40_000, "1"
DECLARED = (
    budget("daily", requests=REQUESTS, tokens=TOKENS, cost=COST),
    budget("minutely", window=Window.MINUTE, requests=REQUESTS),
    budget("mine", per=Per.SUBJECT, requests=REQUESTS),
    price(input="1", output="1"),
)
DAY = Count(project=ADA.project, per=Per.PROJECT, of="", window=Window.DAY, start=Window.DAY.start(NOON))


async def main(uri: str, database: str, calls: int) -> None:
    client = connect(uri, timeout_s=20)
    harness = BudgetHarness(*DECLARED, ledger=MongoLedger(client[database]["budget_counts"]), engine=ScriptedEngine())
    refused = 0

    async def call(number: int) -> None:
        nonlocal refused
        try:
            await harness.answer.whole(ADA, question(), request=asking(f"r{number}"))
        except BudgetExhausted:
            refused += 1

    print("ready", flush=True)  # noqa: T201 - read by the test
    await asyncio.to_thread(sys.stdin.readline)
    await asyncio.gather(*map(call, range(calls)))
    print(json.dumps({"answered": harness.engine.runs, "refused": refused}), flush=True)  # noqa: T201 - ditto
    client.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
