"""What a call has reserved of the counts that it belongs to, and what is used of a count."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from tidemill_core.characters import clean_line
from tidemill_inference.budgets.domain.budget import Amounts, Budget, Kind, Party, Per, Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """One count: of a project, deployment, API subject or end user, in one window."""

    project: str
    per: Per
    of: str
    window: Window
    start: datetime

    @property
    def id(self) -> str:
        """The name among the counts of all projects. Whose it is does not stand in it, only what names them.

        A name is cleaned as questions have theirs, also where a caller asks for a count, or has it erased.
        """
        named = hashlib.sha256(clean_line(self.of).encode("utf-8", "replace")).hexdigest()[:32]
        return f"{self.prefix}{named}/{self.window.name.lower()}/{self.start:%Y%m%dT%H%M}"

    @property
    def prefix(self) -> str:
        """What the names of all counts of this kind of party begin with."""
        return f"{self.project}/{self.per.name.lower()}/"

    @property
    def end(self) -> datetime:
        """When it ends."""
        return self.window.end(self.start)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a call may need of one budget, at most."""

    budget: str
    limits: Amounts
    amounts: Amounts


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A reservation of one call; past `until`, which is after the call's deadline, its process must have died."""

    id: str
    inference: str
    until: datetime
    claims: Mapping[Count, Sequence[Claim]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CountState:
    """What is used of a count by budget, with what calls in progress have reserved, which stands in `reserved` too."""

    used: Mapping[str, Amounts] = field(default_factory=dict)
    reserved: Mapping[str, Amounts] = field(default_factory=dict)

    def left(self, claim: Claim, kind: Kind) -> int:
        """Return what is left of a limit."""
        return claim.limits[kind] - self.used.get(claim.budget, {}).get(kind, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The first limit that does not have enough left."""

    count: Count
    claim: Claim
    kind: Kind
    state: CountState

    @property
    def used(self) -> int:
        """What is used of it."""
        return self.state.used.get(self.claim.budget, {}).get(self.kind, 0)

    @property
    def reserved(self) -> int:
        """What of that is reserved by calls in progress."""
        return self.state.reserved.get(self.claim.budget, {}).get(self.kind, 0)

    @property
    def passes_soon(self) -> bool:
        """Whether there may be enough left once calls in progress have ended."""
        needed, limit = self.claim.amounts[self.kind], self.claim.limits[self.kind]
        return self.used - self.reserved + needed <= limit


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedHold:
    """A hold of a process that died: `amounts` by budget are what it has reserved of this count."""

    count_id: str
    project: str
    hold: str
    inference: str
    amounts: Mapping[str, Amounts]


def claims_of(
    budgets: Sequence[Budget], project: str, party: Party, amounts: Amounts, *, now: datetime
) -> dict[Count, list[Claim]]:
    """Return what a call needs of the counts that it belongs to."""
    found: dict[Count, list[Claim]] = {}
    for budget in budgets:
        if (of := budget.count_of(party)) is None:
            continue
        limits = budget.limits
        count = Count(project=project, per=budget.per, of=of, window=budget.window, start=budget.window.start(now))
        claim = Claim(budget=budget.id, limits=limits, amounts={kind: amounts[kind] for kind in limits})
        found.setdefault(count, []).append(claim)
    return found
