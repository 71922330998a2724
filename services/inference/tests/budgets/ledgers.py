"""Counts in memory, and what tests of budgets begin with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from tidemill_inference.budgets.domain.budget import Amounts, Kind, Per, Window
from tidemill_inference.budgets.domain.hold import Claim, Count, CountState, EndedHold, Hold, Refusal

NOON = datetime(2026, 11, 2, 12, 0, 30, tzinfo=UTC)
ENDED = NOON + timedelta(hours=1)


@dataclass
class _Stored:
    count: Count
    used: dict[str, dict[Kind, int]] = field(default_factory=dict)
    holds: dict[str, tuple[Hold, Sequence[Claim]]] = field(default_factory=dict)


class InMemoryLedger:
    """Implements `ports.Ledger`."""

    def __init__(self) -> None:
        self.stored: dict[str, _Stored] = {}
        self.calls = 0

    async def reserve(self, hold: Hold) -> Refusal | Mapping[str, CountState]:
        self.calls += 1
        for count, claims in hold.claims.items():
            state = self.state_of(count.id)
            for claim in claims:
                for kind, amount in claim.amounts.items():
                    if state.left(claim, kind) < amount:
                        return Refusal(count=count, claim=claim, kind=kind, state=state)
        for count, claims in hold.claims.items():
            stored = self.stored.setdefault(count.id, _Stored(count))
            stored.holds[hold.id] = (hold, claims)
            for claim in claims:
                self._add(stored, claim.budget, claim.amounts)
        return {count.id: self.state_of(count.id) for count in hold.claims}

    async def charge(self, hold: Hold, used: Amounts) -> None:
        self.calls += 1
        for count in hold.claims:
            self._charge(count.id, hold.id, used)

    async def state(self, count_ids: Sequence[str]) -> Mapping[str, CountState]:
        return {each: self.state_of(each) for each in count_ids if each in self.stored}

    async def ended(self, now: datetime, *, limit: int) -> Sequence[EndedHold]:
        return [
            EndedHold(
                count_id=stored.count.id,
                project=stored.count.project,
                hold=name,
                inference=hold.inference,
                amounts={claim.budget: claim.amounts for claim in claims},
            )
            for stored in self.stored.values()
            for name, (hold, claims) in stored.holds.items()
            if hold.until < now
        ][:limit]

    async def close(self, ended: EndedHold, used: Amounts | None) -> None:
        if used is None:
            self.stored[ended.count_id].holds.pop(ended.hold, None)
        else:
            self._charge(ended.count_id, ended.hold, used)

    async def remove_old(self, now: datetime, *, limit: int) -> int:
        old = [name for name, each in self.stored.items() if each.count.end < now and not each.holds][:limit]
        for name in old:
            del self.stored[name]
        return len(old)

    async def erase_of(self, count: Count, *, limit: int) -> int:
        mine = [
            name
            for name, each in self.stored.items()
            if (each.count.project, each.count.per, each.count.of) == (count.project, count.per, count.of)
        ][:limit]
        for name in mine:
            del self.stored[name]
        return len(mine)

    def _charge(self, count_id: str, hold: str, used: Amounts) -> None:
        stored = self.stored.get(count_id)
        if stored is None or hold not in stored.holds:
            return
        _, claims = stored.holds.pop(hold)
        for claim in claims:
            self._add(stored, claim.budget, {kind: used[kind] - amount for kind, amount in claim.amounts.items()})

    def _add(self, stored: _Stored, budget: str, amounts: Amounts) -> None:
        mine = stored.used.setdefault(budget, {})
        for kind, amount in amounts.items():
            mine[kind] = mine.get(kind, 0) + amount

    def state_of(self, count_id: str) -> CountState:
        stored = self.stored.get(count_id)
        if stored is None:
            return CountState()
        reserved: dict[str, dict[Kind, int]] = {}
        for _, claims in stored.holds.values():
            for claim in claims:
                mine = reserved.setdefault(claim.budget, {})
                for kind, amount in claim.amounts.items():
                    mine[kind] = mine.get(kind, 0) + amount
        return CountState(used={name: dict(each) for name, each in stored.used.items()}, reserved=reserved)


def count_of(
    per: Per = Per.PROJECT, of: str = "", *, window: Window = Window.DAY, project: str = "acme", now: datetime = NOON
) -> Count:
    return Count(project=project, per=per, of=of, window=window, start=window.start(now))


def claim(tokens: int, *, limit: int = 100, budget: str = "daily", requests: int = 0) -> Claim:
    limits, amounts = {Kind.TOKENS: limit}, {Kind.TOKENS: tokens}
    if requests:
        limits, amounts = {**limits, Kind.REQUESTS: requests}, {**amounts, Kind.REQUESTS: 1}
    return Claim(budget=budget, limits=limits, amounts=amounts)


def hold(name: str, claims: Mapping[Count, Sequence[Claim]], *, until: datetime = ENDED) -> Hold:
    return Hold(id=name, inference=f"i-{name}", until=until, claims=claims)


def used(tokens: int, requests: int = 1, cost: int = 0) -> Amounts:
    return {Kind.TOKENS: tokens, Kind.REQUESTS: requests, Kind.COST: cost}
