"""What a sweep leaves of counts."""

from datetime import timedelta

from services.inference.tests.budgets.budgeting import BudgetHarness
from services.inference.tests.budgets.ledgers import InMemoryLedger, claim, count_of, hold, used
from tidemill_inference.budgets.domain.budget import Per, Window
from tidemill_inference.budgets.records import RecordedSpending
from tidemill_inference.budgets.sweep_holds import SweepHolds


async def test_one_sweep_removes_the_counts_of_all_windows_that_have_ended_however_many_users_asked() -> None:
    ledger = InMemoryLedger()
    harness = BudgetHarness(ledger=ledger)
    sweep = SweepHolds(ledger=ledger, records=RecordedSpending(harness.inferences), clock=harness.clock)
    for number in range(450):
        count = count_of(Per.END_USER, f"u-{number}", window=Window.MINUTE, now=harness.clock.now())
        reserved = hold(str(number), {count: [claim(1)]})
        await ledger.reserve(reserved)
        await ledger.charge(reserved, used(1))

    assert await sweep.remove_old() == 0
    harness.clock.advance(timedelta(minutes=2))
    assert await sweep.remove_old() == 450
