"""A model's price, in versions, and what an answer cost by the prices of its project."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from decimal import Decimal

from tidemill_core.aggregate import Aggregate
from tidemill_core.errors import NotFound, PreconditionFailed, Violation
from tidemill_core.resources import label_violations, name_violations, refuse, slug_violations
from tidemill_inference.prices.domain.money import decimal_of, nanos_of, whole

MAX_VERSIONS = 500
_MILLION = 1_000_000
_HOUR_S = 3600


class PriceNotFound(NotFound):
    """No price with this id in the caller's project."""

    reason = "PRICE_NOT_FOUND"

    def __init__(self, price: str) -> None:
        super().__init__(f"there is no price {price} in this project", price=price)


class TooManyPriceVersions(PreconditionFailed):
    """A price takes no further version."""

    reason = "TOO_MANY_PRICE_VERSIONS"

    def __init__(self, price: str) -> None:
        message = f"price {price} has {MAX_VERSIONS} versions, which is the limit: delete it, and create another one"
        super().__init__(message, price=price, limit=MAX_VERSIONS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Decimals: a million tokens by their kind, an hour of the machine; `cached_input` "" costs what `input` does."""

    input: str = ""
    cached_input: str = ""
    output: str = ""
    machine_hour: str = ""

    def violations(self, path: str) -> Iterator[Violation]:
        """Yield what is no decimal."""
        for each in fields(self):
            try:
                nanos_of(getattr(self, each.name))
            except ValueError as error:
                yield Violation(f"{path}.{each.name}", str(error))

    def cost(self, used: "Used") -> int:
        """Return what was used in billionths of the currency, rounded up."""
        cached = nanos_of(self.cached_input or self.input)
        tokens = (
            nanos_of(self.input) * (used.input_tokens - used.cached_input_tokens)
            + cached * used.cached_input_tokens
            + nanos_of(self.output) * used.output_tokens
        )
        machine = nanos_of(self.machine_hour) * Decimal(repr(used.machine_s)) / _HOUR_S
        return whole(tokens / _MILLION + machine)

    def dearest(self, used: "Used") -> int:
        """Return what these tokens cost at most: none of them may come from a cache, or a cache may cost more."""
        return max(self.cost(used), self.cost(used.all_cached()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What one attempt of a model used; `estimated` where the endpoint did not report it."""

    model: str
    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    machine_s: float = 0.0
    estimated: bool = False

    def all_cached(self) -> "Used":
        """Return it with all input from a cache."""
        return replace(self, cached_input_tokens=self.input_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceVersion:
    """What a model cost for a while."""

    version: int
    rates: Rates
    create_time: datetime


@dataclass(slots=True, kw_only=True)
class Price(Aggregate):
    """What `model`, or one version of it, costs. It publishes no events."""

    model: str = ""
    rates: Rates = field(default_factory=Rates)
    versions: tuple[PriceVersion, ...] = ()

    def check(self) -> None:
        """Refuse what is no price.

        Raises:
            InvalidInput: names every field that breaks its rule.

        """
        refuse(self._violations())

    def _violations(self) -> Iterator[Violation]:
        yield from slug_violations("price.id", self.id)
        name, at, version = self.model.partition("@")
        yield from name_violations("price.model", name)
        if at and not (version.isdecimal() and len(version) < 10 and int(version) > 0):  # noqa: PLR2004 - digits of int32
            yield Violation("price.model", f"has the version {version[:20]!r}; use a number of 1 or more, or none")
        yield from self.rates.violations("price.rates")
        yield from label_violations("price.labels", self.labels)

    def revise(self, *, now: datetime) -> None:
        """Make a version of changed rates.

        Raises:
            TooManyPriceVersions: there are as many as there may be.

        """
        if self.versions and self.versions[-1].rates == self.rates:
            return
        if len(self.versions) >= MAX_VERSIONS:
            raise TooManyPriceVersions(self.id)
        number = self.versions[-1].version + 1 if self.versions else 1
        self.versions = (*self.versions, PriceVersion(version=number, rates=self.rates, create_time=now))


@dataclass(frozen=True, slots=True, kw_only=True)
class CostItem:
    """What one attempt cost; `price` is "" where none is declared."""

    model: str
    price: str = ""
    price_version: int = 0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    machine_s: float = 0.0
    nanos: int = 0
    estimated: bool = False

    @property
    def amount(self) -> str:
        """The decimal."""
        return decimal_of(self.nanos)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What an answer cost, with all attempts."""

    nanos: int
    currency: str
    items: tuple[CostItem, ...] = ()

    @property
    def amount(self) -> str:
        """The decimal."""
        return decimal_of(self.nanos)


class PriceBook:
    """The prices of a project as they stand; of several for one model the one with the first id counts."""

    def __init__(self, prices: Sequence[Price], *, currency: str) -> None:
        self._currency = currency
        self._by_model: Mapping[str, Price] = {each.model: each for each in sorted(prices, key=_id, reverse=True)}

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._by_model)

    def of(self, model: str) -> Price | None:
        """Return the price of `model@version`: its own, or its model's."""
        return self._by_model.get(model) or self._by_model.get(model.partition("@")[0])

    def cost(self, attempts: Sequence[Used]) -> Cost:
        """Return what attempts cost together."""
        items = tuple(map(self._item, attempts))
        return Cost(nanos=sum(each.nanos for each in items), currency=self._currency, items=items)

    def _item(self, used: Used) -> CostItem:
        price = self.of(used.model)
        return CostItem(
            model=used.model,
            price=price.id if price else "",
            price_version=price.versions[-1].version if price and price.versions else 0,
            input_tokens=used.input_tokens,
            cached_input_tokens=used.cached_input_tokens,
            output_tokens=used.output_tokens,
            machine_s=round(used.machine_s, 6),
            nanos=price.rates.cost(used) if price else 0,
            estimated=used.estimated,
        )


def _id(price: Price) -> str:
    return price.id
