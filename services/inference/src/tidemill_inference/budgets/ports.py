"""Where budgets and their counts live, and how an answer reserves what it may need."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Protocol, Self

from tidemill_core.application import Aggregates, Caller
from tidemill_inference.budgets.domain.budget import Amounts, Budget
from tidemill_inference.budgets.domain.hold import Count, CountState, EndedHold, Hold, Refusal
from tidemill_inference.budgets.domain.rate_limits import RateLimits
from tidemill_inference.prices.domain.price import Cost, PriceBook

Budgets = Aggregates[Budget]

Changed = Callable[[str], None]
"""Called with the project whose budgets changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a project has declared."""

    budgets: Sequence[Budget] = ()
    prices: PriceBook


class RulesOf(Protocol):
    """The rules of projects, cached."""

    async def of(self, project: str) -> Rules:
        """Return what a project has declared, or had a moment ago.

        Raises:
            DependencyUnavailable: the store does not answer, and nothing is known yet.

        """
        ...


class Ledger(Protocol):
    """The counts, which all replicas share."""

    async def reserve(self, hold: Hold) -> Refusal | Mapping[str, CountState]:
        """Reserve all claims of a hold, or none of them; return what is used of those counts that it has seen.

        Raises:
            DependencyUnavailable: the store does not answer; what it did reserve it may keep until the hold ends.

        """
        ...

    async def charge(self, hold: Hold, used: Amounts) -> None:
        """Put what was used in the place of what was reserved; a hold that is charged, or swept, stays as it is."""
        ...

    async def state(self, count_ids: Sequence[str]) -> Mapping[str, CountState]:
        """Return what is used of counts; those of which nothing is are left out."""
        ...

    async def ended(self, now: datetime, *, limit: int) -> Sequence[EndedHold]:
        """Return holds of processes that died, past their end."""
        ...

    async def close(self, ended: EndedHold, used: Amounts | None) -> None:
        """Charge one of them; None leaves what was reserved as used. Repeating it changes nothing."""
        ...

    async def remove_old(self, now: datetime, *, limit: int) -> int:
        """Remove counts of windows that have ended, which nothing holds, as `ended` last found; return how many."""
        ...

    async def erase_of(self, count: Count, *, limit: int) -> int:
        """Remove counts of one party, in all windows; return how many."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a call may need at most. `output_tokens` None is unknown: the budget sets a limit then."""

    deployment: str
    models: Sequence[str]
    """`model@version` of all that may answer."""
    inference: str = ""
    """Its record, if it has one."""
    end_user: str = ""
    input_bytes: int = 0
    """Of all texts: no tokenizer makes more tokens of a text than it has bytes."""
    input_tokens: int = 0
    """Beside those of the texts."""
    output_tokens: int | None = None
    candidates: int = 1
    attempts: int = 1
    """Answers that may be paid for at the same time, as with hedging."""
    unanswered: int = 0
    """Attempts before the one that answers, whose prompt may be paid for although they say nothing."""
    deadline_s: float = 0.0


class Spend(Protocol):
    """The reservation of one call; leaving it charges what was used."""

    max_output_tokens: int | None
    """Set where a budget needs a limit, and the call has none."""
    limits: RateLimits | None
    """What clients are shown; None where no budget applies."""

    @property
    def hold_id(self) -> str:
        """The name of the reservation; "" where no budget applies."""
        ...

    async def __aenter__(self) -> Self:
        """Meter what engines use from here on."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Charge."""
        ...

    def cost(self) -> Cost | None:
        """Return what was used so far; None where the project has neither budgets nor prices."""
        ...


class Spending(Protocol):
    """Reserves what calls may need."""

    async def begin(self, caller: Caller, expected: Expected) -> Spend:
        """Reserve for one call.

        Raises:
            BudgetExhausted: a budget does not have enough left.
            PriceMissing: a budget of money applies, and a model that may answer has no price.
            DependencyUnavailable: the store does not answer.

        """
        ...


@dataclass(slots=True)
class NothingSpent:
    """Implements `Spend` where nothing is declared."""

    max_output_tokens: int | None = None
    limits: RateLimits | None = None
    hold_id: str = ""

    async def __aenter__(self) -> Self:
        """See `Spend`."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """See `Spend`."""

    def cost(self) -> Cost | None:
        """See `Spend`."""
        return None


@dataclass(frozen=True, slots=True)
class NoBudgets:
    """Implements `Spending` where there are neither budgets nor prices."""

    spend: NothingSpent = field(default_factory=NothingSpent)

    async def begin(self, _caller: Caller, _expected: Expected) -> Spend:
        """See `Spending`."""
        return self.spend
