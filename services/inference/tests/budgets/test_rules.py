"""The budgets and prices of projects in memory: read once, and changed at once."""

import asyncio
from typing import Any

import pytest

from services.inference.tests.budgets.budgeting import BudgetHarness, budget
from tidemill_core.application import Page
from tidemill_testkit.polling import run_ready_tasks


class Gate:
    """Holds back what a list of budgets returns."""

    def __init__(self, harness: BudgetHarness, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reads = 0
        self.open = asyncio.Event()
        self._list = harness.budgets.list
        monkeypatch.setattr(harness.budgets, "list", self.list)

    async def list(self, *asked: Any, **how: Any) -> Page[Any]:  # noqa: ANN401 - as it is asked
        self.reads += 1
        found = await self._list(*asked, **how)
        await self.open.wait()
        return found


@pytest.fixture
def harness() -> BudgetHarness:
    return BudgetHarness(budget(requests=1))


@pytest.fixture
def gate(harness: BudgetHarness, monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(harness, monkeypatch)


async def test_of_many_calls_at_the_same_time_one_reads_and_one_that_leaves_ends_no_other(
    harness: BudgetHarness, gate: Gate
) -> None:
    first, *others = [asyncio.create_task(harness.rules.of("acme")) for _ in range(20)]
    await run_ready_tasks()
    first.cancel()
    await run_ready_tasks()
    gate.open.set()

    found = await asyncio.gather(*others)

    assert gate.reads == 1
    assert [[each.id for each in rules.budgets] for rules in found] == [["daily"]] * 19


async def test_a_change_counts_at_once_also_while_the_rules_before_it_are_read(
    harness: BudgetHarness, gate: Gate
) -> None:
    before = asyncio.create_task(harness.rules.of("acme"))
    await run_ready_tasks()

    harness.rules.changed("acme")
    gate.open.set()
    await before
    await harness.rules.of("acme")

    assert gate.reads == 2


async def test_the_rules_of_a_project_that_is_erased_are_forgotten(harness: BudgetHarness, gate: Gate) -> None:
    gate.open.set()
    await harness.rules.of("acme")
    assert harness.rules.projects == {"acme"}

    assert await harness.rules.forget("acme") == 1

    assert harness.rules.projects == set()
