"""Use cases: create, get, list, update and delete budgets, and see what is used of one."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Final

from tidemill_core import resources
from tidemill_core.application import Caller, Clock, Page, PageRequest
from tidemill_core.errors import InvalidInput
from tidemill_core.resources import Write, copy_fields
from tidemill_inference.budgets.domain.budget import Budget, Per
from tidemill_inference.budgets.domain.hold import Count, CountState
from tidemill_inference.budgets.ports import Budgets, Changed, Ledger

CHANGEABLE: Final = frozenset({"per", "window", "requests", "tokens", "cost", "deployment", "subject", "labels"})


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetCrud:
    """A changed limit counts at once for what is used already; `changed` gets the project."""

    budgets: Budgets
    ledger: Ledger
    clock: Clock
    changed: Changed

    async def get(self, caller: Caller, budget_id: str) -> Budget:
        """Return a budget."""
        return await self.budgets.get(caller.project, budget_id)

    async def list(self, caller: Caller, page: PageRequest) -> Page[Budget]:
        """Return a page."""
        return await self.budgets.list(caller.project, page=page)

    async def usage(self, caller: Caller, budget_id: str, of: str) -> tuple[Budget, Count, CountState]:
        """Return a budget with one of its counts in the current window.

        Raises:
            BudgetNotFound: there is none.
            InvalidInput: `of` does not fit what the budget counts per.

        """
        budget = await self.budgets.get(caller.project, budget_id)
        if (budget.per is Per.PROJECT) == bool(of):
            named = budget.per.name.lower()
            text = f"is {of[:80]!r}; budget {budget_id} counts per {named}: " + (
                "leave it empty" if of else f"name the {named}"
            )
            raise InvalidInput.at(field="of", text=text)
        start = budget.window.start(self.clock.now())
        count = Count(project=caller.project, per=budget.per, of=of, window=budget.window, start=start)
        return budget, count, (await self.ledger.state([count.id])).get(count.id, CountState())

    async def create(self, caller: Caller, budget: Budget, write: Write) -> Budget:
        """Return the new budget; the id of a deleted one may be reused.

        Raises:
            InvalidInput: naming every field that breaks its rule.
            AlreadyExists: the id is taken.

        """
        budget.check()
        begin = resources.restored(budget, CHANGEABLE)
        fresh = replace(budget, project=caller.project, exhaust_time=None)
        return self._changed(await resources.create(self.budgets, fresh, write, begin=begin), write)

    async def update(self, caller: Caller, given: Budget, paths: AbstractSet[str], write: Write) -> Budget:
        """Return the updated budget.

        Raises:
            InvalidInput: naming every field that breaks its rule.
            BudgetNotFound: there is none.
            Conflict: it changed since the etag.

        """

        def change(budget: Budget) -> None:
            copy_fields(given, budget, paths)
            budget.check()

        return self._changed(await resources.update(self.budgets, caller.project, given.id, change, write), write)

    async def delete(self, caller: Caller, budget_id: str, write: Write) -> Budget:
        """Return the deleted budget; what was used of it is forgotten when its windows end.

        Raises:
            BudgetNotFound: there is none.
            Conflict: it changed since the etag.

        """
        return self._changed(await resources.delete(self.budgets, caller.project, budget_id, write), write)

    def _changed(self, budget: Budget, write: Write) -> Budget:
        if not write.validate_only:
            self.changed(budget.project)
        return budget
