"""A budget: how many requests and tokens, and how much money, whose calls may use in a window of time."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum

from tidemill_core.aggregate import Aggregate, Event
from tidemill_core.errors import Violation
from tidemill_core.resources import SLUG, label_violations, line_violations, refuse, slug_violations
from tidemill_inference.prices.domain.money import nanos_of, whole

MAX_LIMIT = 10**15
MAX_SUBJECT = 256
_DECEMBER = 12


class Per(Enum):
    """Whose calls share one count."""

    PROJECT = 1
    DEPLOYMENT = 2
    SUBJECT = 3
    END_USER = 4


class Window(Enum):
    """A fixed window of the calendar in UTC, as in "Fixed Window Counter" of the `limits` library and as OpenAI counts.

    Up to twice the limit may be used within the length of one window, around its boundary.
    """

    MINUTE = 1
    DAY = 2
    MONTH = 3

    def start(self, now: datetime) -> datetime:
        """Return when the window that `now` is in began."""
        now = now.astimezone(UTC).replace(second=0, microsecond=0)
        if self is Window.MINUTE:
            return now
        now = now.replace(hour=0, minute=0)
        return now if self is Window.DAY else now.replace(day=1)

    def end(self, start: datetime) -> datetime:
        """Return when the window that began then ends."""
        if self is Window.MINUTE:
            return start + timedelta(minutes=1)
        if self is Window.DAY:
            return start + timedelta(days=1)
        year, month = (start.year + 1, 1) if start.month == _DECEMBER else (start.year, start.month + 1)
        return start.replace(year=year, month=month)


class Kind(Enum):
    """What is limited."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    COST = "cost"


Amounts = Mapping[Kind, int]
"""How much of each kind; money in billionths of the currency."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetWasExhausted(Event):
    """It refused a call, for the first time in its window; says nothing of whose."""

    limited: str
    limit: int
    reset_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """Whose call it is."""

    deployment: str = ""
    subject: str = ""
    end_user: str = ""


@dataclass(slots=True, kw_only=True)
class Budget(Aggregate):
    """Limits of one window; 0 requests or tokens limit nothing, as a cost of "" does.

    `deployment` and `subject` "" are all of them.
    """

    per: Per = Per.PROJECT
    window: Window
    requests: int = 0
    tokens: int = 0
    cost: str = ""
    deployment: str = ""
    subject: str = ""
    exhaust_time: datetime | None = None

    @property
    def limits(self) -> Amounts:
        """What it limits."""
        found = {Kind.REQUESTS: self.requests, Kind.TOKENS: self.tokens, Kind.COST: whole(nanos_of(self.cost))}
        return {kind: limit for kind, limit in found.items() if limit or (kind is Kind.COST and self.cost)}

    def count_of(self, party: Party) -> str | None:
        """Return the name of the count that a call of this party belongs to; None where it does not apply to it."""
        others = (self.deployment and self.deployment != party.deployment) or (
            self.subject and self.subject != party.subject
        )
        if others:
            return None
        match self.per:
            case Per.PROJECT:
                return ""
            case Per.DEPLOYMENT:
                return party.deployment
            case Per.SUBJECT:
                return party.subject or None
            case Per.END_USER:
                return party.end_user or None

    def exhausted(self, kind: Kind, *, now: datetime) -> None:
        """Record the first refusal in its window."""
        start = self.window.start(now)
        if self.exhaust_time is not None and self.exhaust_time >= start:
            return
        self.exhaust_time = now
        self.pending.append(
            BudgetWasExhausted(
                occurred_at=now,
                limited=kind.value,
                limit=self.limits.get(kind, 0),
                reset_time=self.window.end(start),
            )
        )

    def check(self) -> None:
        """Refuse what is no budget.

        Raises:
            InvalidInput: names every field that breaks its rule.

        """
        refuse(self._violations())

    def _violations(self) -> Iterator[Violation]:
        yield from slug_violations("budget.id", self.id)
        for name in ("requests", "tokens"):
            if not 0 <= (limit := getattr(self, name)) <= MAX_LIMIT:
                yield Violation(f"budget.{name}", f"is {limit}; use 1 to {MAX_LIMIT}, or 0 for no limit")
        try:
            money = nanos_of(self.cost)
            nothing = not (self.requests or self.tokens or money)
        except ValueError as error:
            yield Violation("budget.cost", str(error))
            nothing = False
        if nothing:
            yield Violation("budget", "limits nothing: set requests, tokens or cost above 0")
        if self.deployment and not SLUG.fullmatch(self.deployment):
            yield from slug_violations("budget.deployment", self.deployment)
        yield from line_violations("budget.subject", self.subject, limit=MAX_SUBJECT)
        yield from label_violations("budget.labels", self.labels)
