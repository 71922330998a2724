"""A process that has reserved for some answers when it is killed; see `test_death`.

python -m services.inference.tests.budgets.dying MONGO_URI DATABASE CALLS
"""

import asyncio
import sys

from services.inference.tests.budgets.budgeting import BudgetHarness
from services.inference.tests.budgets.overshooting import DECLARED
from services.inference.tests.fakes import ADA, ScriptedEngine, asking, question
from tidemill_inference.budgets.mongo import MongoLedger
from tidemill_kit.store.mongo import connect


async def main(uri: str, database: str, calls: int) -> None:
    counts = connect(uri, timeout_s=20)[database]["budget_counts"]
    engine = ScriptedEngine(free_words=1)
    engine.gate.clear()
    harness = BudgetHarness(*DECLARED, ledger=MongoLedger(counts), engine=engine)
    answers = [harness.answer(ADA, question(), request=asking(f"dying-{number}")) for number in range(calls)]
    for steps in answers:
        await anext(steps)
    print("reserved", flush=True)  # noqa: T201 - read by the test
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
