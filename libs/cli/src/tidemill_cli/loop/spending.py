"""The sections budgets and prices of loop.yaml, and the messages that they become."""

from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from tidemill.inference.v1 import budget_pb2, price_pb2
from tidemill_cli.loop.desired import Desired
from tidemill_cli.loop.shapes import SHARED_REFERENCE, Declared, Slug

_MAX_AMOUNT = 10**9


def _amount(value: object) -> str:
    """Read 2.5, 200 or "2.50"; a number is taken as it is written, not as a float."""
    try:
        amount = Decimal(str(value)) if not isinstance(value, bool) else Decimal(-1)
    except InvalidOperation:
        amount = Decimal(-1)
    if not (amount.is_finite() and 0 <= amount <= _MAX_AMOUNT):
        message = f"must be a number of 0 to {_MAX_AMOUNT}, such as 2.5, in the currency of the installation"
        raise ValueError(message)
    return f"{amount:f}"


Amount = Annotated[
    str,
    BeforeValidator(_amount),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, {"type": "string"}], "examples": [2.5, 200]}),
]


class Budget(Declared):
    """Limits of requests, tokens and money in a window of time."""

    per: Literal["project", "deployment", "subject", "end_user"] = "project"
    window: Literal["minute", "day", "month"]
    requests: Annotated[int, Field(ge=1)] | None = None
    tokens: Annotated[int, Field(ge=1)] | None = None
    cost: Amount | None = None
    deployment: Annotated[Slug, Field(description="counts the calls of this deployment only")] | None = None
    subject: Annotated[str, Field(description="counts the calls of this API subject only")] | None = None

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.requests is None and self.tokens is None and not Decimal(self.cost or 0):
            message = "limits nothing: set requests, tokens or cost above 0"
            raise ValueError(message)
        return self


class Price(Declared):
    """What a model costs: a million tokens of each kind, and an hour of the machine."""

    model: (
        Annotated[str, Field(pattern=SHARED_REFERENCE, description="model or model@version; the name of the price")]
        | None
    ) = None
    input: Amount | None = None
    cached_input: Amount | None = None
    output: Amount | None = None
    machine_hour: Amount | None = None


def spending_resources(
    prices: Mapping[str, Price], budgets: Mapping[str, Budget], labels: dict[str, str]
) -> Iterator[Desired]:
    """Yield the resources: prices first, without which no budget of money lets a call pass."""
    for name, price in prices.items():
        rates = price.model_dump(exclude={"model"}, exclude_none=True)
        yield Desired.of(
            "price",
            price_pb2.Price,
            name,
            labels=labels,
            model=price.model or name,
            rates=price_pb2.PriceRates(**rates),
        )
    for name, budget in budgets.items():
        yield Desired.of(
            "budget",
            budget_pb2.Budget,
            name,
            [("deployment", budget.deployment)] if budget.deployment else [],
            labels=labels,
            per=budget_pb2.BudgetPer.Value(f"BUDGET_PER_{budget.per.upper()}"),
            window=budget_pb2.BudgetWindow.Value(f"BUDGET_WINDOW_{budget.window.upper()}"),
            requests=budget.requests or 0,
            tokens=budget.tokens or 0,
            cost=budget.cost or "",
            deployment=budget.deployment or "",
            subject=budget.subject or "",
        )
