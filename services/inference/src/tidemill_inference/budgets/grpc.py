"""BudgetService: message -> use case -> message."""

from collections.abc import Mapping
from dataclasses import dataclass

from tidemill.inference.v1 import budget_pb2, budget_service_pb2_grpc
from tidemill.inference.v1 import budget_service_pb2 as pb
from tidemill_inference.budgets.crud import CHANGEABLE, BudgetCrud
from tidemill_inference.budgets.domain.budget import Amounts, Budget, Kind
from tidemill_inference.budgets.domain.hold import Count, CountState
from tidemill_inference.prices.domain.money import decimal_of
from tidemill_kit.grpc.server import current_caller, page_of, paths_of, required, write_of
from tidemill_kit.mapping import from_message, to_message


@dataclass(frozen=True, kw_only=True)
class GrpcBudgetService(budget_service_pb2_grpc.BudgetServiceServicer):
    """Serves budgets; errors are mapped by the kit's interceptor."""

    budgets: BudgetCrud

    async def CreateBudget(self, request: pb.CreateBudgetRequest, _context: object) -> pb.CreateBudgetResponse:
        """Create a budget."""
        required(request, "budget")
        caller = current_caller()
        created = await self.budgets.create(caller, _budget_of(request.budget, caller.project), write_of(request))
        return to_message(pb.CreateBudgetResponse, budget=created)

    async def GetBudget(self, request: pb.GetBudgetRequest, _context: object) -> pb.GetBudgetResponse:
        """Return one budget."""
        return to_message(pb.GetBudgetResponse, budget=await self.budgets.get(current_caller(), request.id))

    async def ListBudgets(self, request: pb.ListBudgetsRequest, _context: object) -> pb.ListBudgetsResponse:
        """Return a page of budgets."""
        page = await self.budgets.list(current_caller(), page_of(request, filters={}))
        return to_message(pb.ListBudgetsResponse, budgets=page.items, next_page_token=page.next_token)

    async def UpdateBudget(self, request: pb.UpdateBudgetRequest, _context: object) -> pb.UpdateBudgetResponse:
        """Change the fields that the mask names."""
        required(request, "budget")
        caller, paths = current_caller(), paths_of(request.update_mask, allowed=CHANGEABLE)
        write, given = write_of(request, etag=request.budget.etag), request.budget
        if "window" not in paths:
            given.window = budget_pb2.BUDGET_WINDOW_DAY  # is not read, and may be left out
        updated = await self.budgets.update(caller, _budget_of(given, caller.project), paths, write)
        return to_message(pb.UpdateBudgetResponse, budget=updated)

    async def DeleteBudget(self, request: pb.DeleteBudgetRequest, _context: object) -> pb.DeleteBudgetResponse:
        """Delete a budget."""
        deleted = await self.budgets.delete(current_caller(), request.id, write_of(request))
        return to_message(pb.DeleteBudgetResponse, budget=deleted)

    async def GetBudgetUsage(self, request: pb.GetBudgetUsageRequest, _context: object) -> pb.GetBudgetUsageResponse:
        """Return what is used of one count."""
        budget, count, state = await self.budgets.usage(current_caller(), request.id, request.of)
        return to_message(pb.GetBudgetUsageResponse, budget=budget, usage=_usage(budget, count, state))


def _budget_of(message: budget_pb2.Budget, project: str) -> Budget:
    return from_message(Budget, message, prefix="budget", project=project, exhaust_time=None)


def _usage(budget: Budget, count: Count, state: CountState) -> budget_pb2.BudgetUsage:
    return to_message(
        budget_pb2.BudgetUsage,
        **_fields("", state.used.get(budget.id, {})),
        **_fields("reserved_", state.reserved.get(budget.id, {})),
        window_start=count.start,
        reset_time=count.end,
    )


def _fields(prefix: str, amounts: Amounts) -> Mapping[str, object]:
    return {
        f"{prefix}requests": amounts.get(Kind.REQUESTS, 0),
        f"{prefix}tokens": amounts.get(Kind.TOKENS, 0),
        f"{prefix}cost": decimal_of(amounts.get(Kind.COST, 0)),
    }
