"""Reserve what a call may need before it, and charge what it used after it."""

import asyncio
import logging
import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self

from cachetools import LRUCache
from prometheus_client import Counter

from tidemill_core.application import Caller, Clock, Request
from tidemill_core.errors import DependencyUnavailable, TidemillError
from tidemill_inference.budgets.domain.budget import Amounts, Budget, Kind, Party, Per
from tidemill_inference.budgets.domain.errors import BudgetExhausted, BudgetNotFound, PriceMissing
from tidemill_inference.budgets.domain.hold import Claim, CountState, Hold, Refusal, claims_of
from tidemill_inference.budgets.domain.metering import Meter, estimated_tokens, metering
from tidemill_inference.budgets.domain.rate_limits import RateLimit, RateLimits
from tidemill_inference.budgets.ports import Budgets, Expected, Ledger, NothingSpent, RulesOf, Spend
from tidemill_inference.prices.domain.money import decimal_of
from tidemill_inference.prices.domain.price import Cost, PriceBook, Used

_GRACE = timedelta(seconds=60)
"""How long after its deadline a call may still charge: then its process has died."""
_CHARGE_TRIES = 3
_CHARGE_PAUSE_S = 1.0
_SOON_S = 1.0
_MAX_SEEN = 10_000
_MAX_AMOUNT = 2**62

REFUSED = Counter("tidemill_budget_refusals", "Calls that a budget refused, by what it limits.", ["project", "limited"])
DEFERRED = Counter("tidemill_budget_charges_deferred", "Charges that the store did not take; a sweep makes them.")
_log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class SeenCounts:
    """What this process has last seen of counts, for headers: read seldom, and counted on from there.

    Of end users nothing is read: there are too many.
    """

    ledger: Ledger
    ttl_s: float
    _seen: LRUCache[str, tuple[float, dict[str, dict[Kind, int]]]] = field(default_factory=lambda: LRUCache(_MAX_SEEN))

    async def used(self, hold: Hold, seen: Mapping[str, CountState]) -> Mapping[str, Mapping[str, Amounts]]:
        """Return what is used of the counts of a hold that was just reserved, by count and budget.

        `seen` are those that its reservation has read.
        """
        now = time.monotonic()
        self._add({count.id: each for count, each in hold.claims.items() if count.id not in seen}, None)
        old = [count.id for count in hold.claims if count.per is not Per.END_USER and self._is_old(count.id, seen, now)]
        try:
            found = {**(await self.ledger.state(old) if old else {}), **seen}
        except DependencyUnavailable:
            found = dict(seen)
        for count_id, state in found.items():
            self._seen[count_id] = (now, {budget: dict(amounts) for budget, amounts in state.used.items()})
        return {count.id: self._seen[count.id][1] for count in hold.claims if count.id in self._seen}

    def charged(self, hold: Hold, used: Amounts) -> None:
        """Count what was used in the place of what was reserved."""
        self._add({count.id: claims for count, claims in hold.claims.items()}, used)

    def _is_old(self, count_id: str, seen: Mapping[str, CountState], now: float) -> bool:
        return count_id not in seen and (count_id not in self._seen or now - self._seen[count_id][0] >= self.ttl_s)

    def _add(self, counts: Mapping[str, Sequence[Claim]], used: Amounts | None) -> None:
        for count_id, claims in counts.items():
            if count_id not in self._seen:
                continue
            for claim in claims:
                mine = self._seen[count_id][1].setdefault(claim.budget, {})
                for kind, amount in claim.amounts.items():
                    mine[kind] = mine.get(kind, 0) + (amount if used is None else used[kind] - amount)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendBudgets:
    """Implements `ports.Spending`. Emits BudgetWasExhausted, once for each budget and window.

    A reservation is one call of the store, and charging it another; without a budget that applies there is none.
    """

    rules: RulesOf
    ledger: Ledger
    budgets: Budgets
    clock: Clock
    output_tokens: int
    """The limit of a call that has none, where tokens or money are limited."""
    seen: SeenCounts
    _reported: dict[tuple[str, str], datetime] = field(default_factory=dict)
    _charging: set[asyncio.Task[None]] = field(default_factory=set)

    async def begin(self, caller: Caller, expected: Expected) -> Spend:
        """See `Spending.begin`."""
        rules = await self.rules.of(caller.project)
        if not rules.budgets and not rules.prices:
            return NothingSpent()
        now = self.clock.now()
        party = Party(deployment=expected.deployment, subject=caller.subject, end_user=expected.end_user)
        applying = [each for each in rules.budgets if each.count_of(party) is not None]
        limited = {kind for each in applying for kind in each.limits}
        unlimited = expected.output_tokens is None and bool(limited & {Kind.TOKENS, Kind.COST})
        spent = _Spent(
            spending=self,
            prices=rules.prices,
            meter=Meter(input_tokens=estimated_tokens(expected.input_bytes) + expected.input_tokens),
            max_output_tokens=self.output_tokens if unlimited else None,
        )
        if not applying:
            return spent
        amounts = self._needed(rules.prices, applying, expected)
        hold = Hold(
            id=secrets.token_hex(16),
            inference=expected.inference,
            until=now + timedelta(seconds=expected.deadline_s) + _GRACE,
            claims=claims_of(applying, caller.project, party, amounts, now=now),
        )
        reserved = await self._reserved(hold)
        if isinstance(reserved, Refusal):
            REFUSED.labels(caller.project, reserved.kind.value).inc()
            await self._report(caller.project, reserved, now)
            raise _exhausted(reserved, now)
        spent.hold = hold
        try:
            spent.limits = _rate_limits(hold, await self.seen.used(hold, reserved), now)
        except BaseException:
            self.charge(hold, dict.fromkeys(Kind, 0))  # no caller enters it, and so none would leave it
            raise
        return spent

    async def _reserved(self, hold: Hold) -> Refusal | Mapping[str, CountState]:
        """Reserve, and give back what a call that is cancelled meanwhile, or a store that fails, may have reserved."""
        reserving = asyncio.ensure_future(self.ledger.reserve(hold))
        try:
            return await asyncio.shield(reserving)
        except (asyncio.CancelledError, DependencyUnavailable):
            self.charge(hold, dict.fromkeys(Kind, 0), after=reserving)
            raise

    def _needed(self, prices: PriceBook, budgets: Sequence[Budget], expected: Expected) -> Amounts:
        """Return what the call needs at most, at the price of the dearest model that may answer."""
        output = self.output_tokens if expected.output_tokens is None else expected.output_tokens
        output *= expected.candidates
        unanswered = expected.unanswered * (estimated_tokens(expected.input_bytes) + expected.input_tokens)
        given, cost = expected.input_bytes + expected.input_tokens + unanswered, 0
        if limiting := next((each.id for each in budgets if Kind.COST in each.limits), ""):
            for model in expected.models:
                if (price := prices.of(model)) is None:
                    raise PriceMissing(model, budget=limiting)
                most = Used(model=model, input_tokens=given, output_tokens=output, machine_s=expected.deadline_s)
                cost = max(cost, price.rates.dearest(most))
        return {
            Kind.REQUESTS: 1,
            Kind.TOKENS: (given + output) * expected.attempts,
            Kind.COST: min(cost * expected.attempts, _MAX_AMOUNT),
        }

    async def _report(self, project: str, refused: Refusal, now: datetime) -> None:
        """Record the budget's first refusal in its window; this process asks the store once for each."""
        key, start = (project, refused.claim.budget), refused.count.start
        if self._reported.get(key) == start:
            return
        self._reported[key] = start
        try:
            await self.budgets.update(
                project, key[1], lambda budget: budget.exhausted(refused.kind, now=now), request=Request.internal()
            )
        except BudgetNotFound:
            return  # deleted meanwhile
        except TidemillError as error:
            self._reported.pop(key, None)
            _log.warning("budget_stop_not_recorded: %s: %s", key[1], error.reason)

    def charge(self, hold: Hold, used: Amounts, *, after: asyncio.Future[Any] | None = None) -> asyncio.Task[None]:
        """Charge what was used, beside a caller that may be cancelled; where that fails, the sweep does it."""
        if after is None:  # else it was not seen either
            self.seen.charged(hold, used)
        task = asyncio.create_task(self._charge(hold, used, after), name=f"charge {hold.id}")
        self._charging.add(task)
        task.add_done_callback(self._charging.discard)
        return task

    async def _charge(self, hold: Hold, used: Amounts, after: asyncio.Future[Any] | None) -> None:
        if after is not None:
            await asyncio.wait({after})
        for left in reversed(range(_CHARGE_TRIES)):
            try:
                await self.ledger.charge(hold, used)
            except DependencyUnavailable as error:
                if not left:
                    DEFERRED.inc()
                    _log.warning("budget_not_charged: %s: %s", hold.inference, error.reason)
                    return
                await asyncio.sleep(_CHARGE_PAUSE_S)
            else:
                return


@dataclass(slots=True, kw_only=True)
class _Spent:
    """Implements `ports.Spend`."""

    spending: SpendBudgets
    prices: PriceBook
    meter: Meter
    max_output_tokens: int | None
    limits: RateLimits | None = None
    hold: Hold | None = None
    _metering: AbstractContextManager[Meter] | None = None

    async def __aenter__(self) -> Self:
        self._metering = metering(self.meter)
        self._metering.__enter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._metering is not None:
            self._metering.__exit__(kind, error, trace)
        if self.hold is not None:
            await asyncio.shield(self.spending.charge(self.hold, amounts_of(self.cost())))

    def cost(self) -> Cost:
        """See `Spend.cost`."""
        return self.prices.cost(self.meter.used)

    @property
    def hold_id(self) -> str:
        """See `Spend.hold_id`."""
        return self.hold.id if self.hold else ""


def amounts_of(cost: Cost) -> Amounts:
    """Return what counts of what an answer has used; one that no model was asked for counts for nothing."""
    return {
        Kind.REQUESTS: min(1, len(cost.items)),
        Kind.TOKENS: sum(each.input_tokens + each.output_tokens for each in cost.items),
        Kind.COST: cost.nanos,
    }


def _exhausted(refused: Refusal, now: datetime) -> BudgetExhausted:
    """Return what the caller gets to know: which limit, what is used of it, and when it may come again."""
    shown = decimal_of if refused.kind is Kind.COST else str
    reset, limit = refused.count.end, refused.claim.limits[refused.kind]
    left = RateLimit(limit=limit, remaining=limit - refused.used, reset_time=reset)
    pause_s = _SOON_S if refused.passes_soon else max(_SOON_S, (reset - now).total_seconds())
    return BudgetExhausted(
        refused.claim.budget,
        limited=refused.kind.value,
        limit=shown(limit),
        used=shown(refused.used),
        needed=shown(refused.claim.amounts[refused.kind]),
        reset=f"{reset:%Y-%m-%dT%H:%M:%SZ}",
        retry_after_s=pause_s,
        limits=RateLimits({refused.kind: left}, now),
    )


def _rate_limits(hold: Hold, seen: Mapping[str, Mapping[str, Amounts]], now: datetime) -> RateLimits:
    """Return the limit of each kind of which the smallest share is left."""
    found: dict[Kind, RateLimit] = {}
    for count, claims in hold.claims.items():
        for claim in claims:
            for kind, limit in claim.limits.items():
                remaining = limit - seen.get(count.id, {}).get(claim.budget, claim.amounts).get(kind, 0)
                known = found.get(kind)
                if known is None or remaining * known.limit < known.remaining * limit:
                    found[kind] = RateLimit(limit=limit, remaining=remaining, reset_time=count.end)
    return RateLimits(found, now)
