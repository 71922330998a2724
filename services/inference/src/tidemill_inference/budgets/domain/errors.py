"""What can go wrong with budgets.

NotFound
└── BudgetNotFound
PreconditionFailed
└── PriceMissing            a budget of money applies, and a model that may answer has no price
RateLimited
└── BudgetExhausted         a budget does not have enough left for what a call may need
"""

from tidemill_core.errors import Blame, NotFound, PreconditionFailed, RateLimited
from tidemill_inference.budgets.domain.rate_limits import RateLimits


class BudgetNotFound(NotFound):
    """No budget with this id in the caller's project."""

    reason = "BUDGET_NOT_FOUND"

    def __init__(self, budget: str) -> None:
        super().__init__(f"there is no budget {budget} in this project", budget=budget)


class PriceMissing(PreconditionFailed):
    """A budget of money applies to a call, and a model that may answer it has no price."""

    reason = "PRICE_MISSING"
    blame = Blame.CALLER

    def __init__(self, model: str, *, budget: str) -> None:
        message = f"budget {budget} limits money, and model {model} has no price: declare one, or no limit of money"
        super().__init__(message, model=model, budget=budget)


class BudgetExhausted(RateLimited):
    """A budget does not have enough left for what a call may need at most; `limited` is requests, tokens or cost."""

    reason = "BUDGET_EXHAUSTED"
    blame = Blame.CALLER

    def __init__(  # noqa: PLR0913 - all that a caller has to know
        self,
        budget: str,
        *,
        limited: str,
        limit: str,
        used: str,
        needed: str,
        reset: str,
        retry_after_s: float,
        limits: RateLimits,
    ) -> None:
        self.limited = limited
        self.limits = limits
        super().__init__(
            f"budget {budget} limits {limited} to {limit}: {used} used, with what calls in progress have reserved, and "
            f"this call may need {needed}; the count begins anew at {reset}. Come again then, ask for fewer "
            "max_output_tokens, or have the budget raised",
            retry_after_s=retry_after_s,
            budget=budget,
            limited=limited,
            limit=limit,
            used=used,
            needed=needed,
            reset=reset,
        )
