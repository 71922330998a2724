"""budgets and prices: list and show them, and what is used of a budget; loop.yaml declares them."""

from collections.abc import Iterator
from typing import Annotated

import typer

from tidemill.inference.v1.budget_pb2 import Budget, BudgetPer, BudgetWindow
from tidemill.inference.v1.budget_service_pb2 import GetBudgetUsageRequest, ListBudgetsRequest
from tidemill.inference.v1.price_pb2 import PriceRates
from tidemill.inference.v1.price_service_pb2 import GetPriceRequest, ListPricesRequest
from tidemill_cli.options import Commands
from tidemill_cli.output import call, card, moment, plain, show, table, word
from tidemill_cli.pages import lists
from tidemill_client.declared import Budgets, Prices

budgets = Commands(help="Budgets: limits of requests, tokens and money.")
prices = Commands(help="Prices of models.")

_RATES = ("input", "cached input", "output", "machine hour")


@lists(
    budgets,
    "list",
    lambda c: c.budgets.ListBudgets,
    ("budget", "per", "window", "limits", "last refused"),
    lambda b: (
        b.id,
        word(BudgetPer, b.per),
        word(BudgetWindow, b.window),
        ", ".join(_limits(b)),
        moment(b.exhaust_time) if b.HasField("exhaust_time") else "-",
    ),
)
def list_budgets() -> ListBudgetsRequest:
    """List the project's budgets."""
    return ListBudgetsRequest()


@budgets.command("usage")
def usage(
    name: Annotated[str, typer.Argument(help="The budget.")],
    of: Annotated[
        str, typer.Argument(help="Whose count: the deployment, subject or end user that the budget counts per.")
    ] = "",
) -> None:
    """Show what is used of a budget in the current window."""
    reply = call(lambda c: c.budgets.GetBudgetUsage(GetBudgetUsageRequest(id=name, of=of)))
    used, budget = reply.usage, reply.budget
    facts = {"budget": budget.id, "of": of, "limits": ", ".join(_limits(budget))}
    for what, amount, reserved in (
        ("requests", used.requests, used.reserved_requests),
        ("tokens", used.tokens, used.reserved_tokens),
        ("cost", used.cost, used.reserved_cost),
    ):
        facts[what] = f"{amount}, of which {reserved} reserved by calls in progress"
    show(plain(reply), card({**facts, "begins anew": moment(used.reset_time)}))


@budgets.command("delete")
def delete_budget(name: Annotated[str, typer.Argument(help="The budget.")]) -> None:
    """Delete a budget; it limits nothing from then on."""
    budget = call(lambda c: Budgets(c).delete(name))
    show(plain(budget), f"{budget.id} is deleted")


@lists(
    prices,
    "list",
    lambda c: c.prices.ListPrices,
    ("price", "model", "version", *_RATES),
    lambda p: (p.id, p.model, p.versions[-1].version if p.versions else "-", *_rates(p.rates)),
)
def list_prices() -> ListPricesRequest:
    """List the prices of models: of a million tokens, and of an hour of the machine."""
    return ListPricesRequest()


@prices.command("show")
def show_price(name: Annotated[str, typer.Argument(help="The price.")]) -> None:
    """Show a price with its versions."""
    price = call(lambda c: c.prices.GetPrice(GetPriceRequest(id=name))).price
    show(plain(price), table(("version", *_RATES), [(each.version, *_rates(each.rates)) for each in price.versions]))


@prices.command("delete")
def delete_price(name: Annotated[str, typer.Argument(help="The price.")]) -> None:
    """Delete a price; what was priced by it stays so."""
    price = call(lambda c: Prices(c).delete(name))
    show(plain(price), f"{price.id} is deleted")


def _limits(budget: Budget) -> Iterator[str]:
    if budget.requests:
        yield f"{budget.requests} requests"
    if budget.tokens:
        yield f"{budget.tokens} tokens"
    if budget.cost:
        yield f"cost {budget.cost}"
    if budget.deployment:
        yield f"of {budget.deployment}"
    if budget.subject:
        yield f"of {budget.subject}"


def _rates(rates: PriceRates) -> tuple[str, str, str, str]:
    return (rates.input or "-", rates.cached_input or "-", rates.output or "-", rates.machine_hour or "-")
