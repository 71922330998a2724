"""How a candidate reaches users, as it was declared: steps, what takes it back, who has to agree."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from math import ceil

from tidemill_core.approvals import OPERATOR, ApprovalPolicy
from tidemill_core.errors import Violation
from tidemill_core.resources import slug_violations

DEFAULT_STEP_TIMEOUT = timedelta(hours=24)
MAX_STEP_TIMEOUT = timedelta(days=90)
MAX_STEPS = 20
MAX_WEIGHT = 100
MAX_REQUESTS = 100_000
EARLY_ANSWERS = 10
"""So many answers of the candidate are enough for a verdict where a step does not say."""
MAX_METRIC_RULES = 5
RATING = "rating"
KEPT_OUTCOMES = 1000
KEPT_FOLD = 10
"""How many times what its end needs is kept of a step."""
KEPT_OF_VALUES = 20
"""How many times the answers are kept that a metric's values are waited for of: one in so many has to have one."""
MAX_KEPT = 1_000_000
"""More are not kept for values."""


class StickyBy(Enum):
    """What keeps its variant."""

    END_USER = "end_user"
    REQUEST = "request"


class OnTimeout(Enum):
    """What becomes of a step that lasts too long."""

    HOLD = "hold"
    PROMOTE = "promote"
    ROLL_BACK = "roll_back"


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutStep:
    """One step: it lasts for `requests` live requests, of which `at_least` (0 means 1) are the candidate's."""

    requests: int
    shadow: bool = False
    weight: int = 0
    at_least: int = 0
    at_most: timedelta = DEFAULT_STEP_TIMEOUT

    @property
    def minimum(self) -> int:
        """How many answers of the candidate the step needs to end."""
        return max(1, self.at_least)

    @property
    def early_minimum(self) -> int:
        """How many answers of the candidate a verdict on it needs before the step ends."""
        return self.at_least or min(self.requests, EARLY_ANSWERS)

    @property
    def kept(self) -> int:
        """How many of its newest outcomes are kept: far more than its end needs, also where it is held for long."""
        share = 1.0 if self.shadow else self.weight / MAX_WEIGHT
        return max(KEPT_OUTCOMES, KEPT_FOLD * max(self.requests, ceil(self.minimum / share)))

    @property
    def smaller_percent(self) -> int:
        """The share of the answers that the side with fewer of them has, of those that answer."""
        return min(self.weight, MAX_WEIGHT - self.weight) or MAX_WEIGHT

    def violations(self, path: str) -> Iterator[Violation]:
        """Yield what is out of bounds."""
        if self.shadow and self.weight:
            text = f"is {self.weight}; answers of a shadow step are not returned, so leave it out"
            yield Violation(f"{path}.weight", text)
        if not self.shadow and not 1 <= self.weight <= MAX_WEIGHT:
            text = f"is {self.weight}; use 1 to {MAX_WEIGHT} percent, or make it a shadow step"
            yield Violation(f"{path}.weight", text)
        if not 1 <= self.requests <= MAX_REQUESTS:
            yield Violation(f"{path}.requests", f"is {self.requests}; use 1 to {MAX_REQUESTS}")
        if not 0 <= self.at_least <= self.requests:
            text = f"is {self.at_least}; use 0 (for 1) to requests, which is {self.requests}"
            yield Violation(f"{path}.at_least", text)
        if not timedelta() < self.at_most <= MAX_STEP_TIMEOUT:
            text = f"is {self.at_most.total_seconds():g} s; use more than 0 and at most {MAX_STEP_TIMEOUT.days} days"
            yield Violation(f"{path}.at_most", text)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricRule:
    """A declared metric that takes the candidate back, or that steps with a weight wait for, or both.

    `loss_above` is of scores, 0 (worst) to 1 (best): the baseline's weighted mean minus the candidate's.
    """

    metric: str
    loss_above: float | None = None
    at_least: int = 0
    """So many values of each side that answers does a step with a weight need to end."""

    def violations(self, path: str) -> Iterator[Violation]:
        """Yield what is out of bounds."""
        yield from slug_violations(f"{path}.metric", self.metric)
        if self.metric == RATING:
            yield Violation(
                f"{path}.metric",
                f"is {RATING}, which is no declared metric: use rating_loss_above (rating: in loop.yaml)",
            )
        if self.loss_above is None and not self.at_least:
            yield Violation(path, "does nothing: set loss_above, at_least, or both")
        if self.loss_above is not None and not 0.0 <= self.loss_above <= 1.0:
            yield Violation(f"{path}.loss_above", f"is {self.loss_above:g}; use 0 to 1")
        if not 0 <= self.at_least <= MAX_REQUESTS:
            yield Violation(f"{path}.at_least", f"is {self.at_least}; use 0 (not to wait) to {MAX_REQUESTS}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AbortRules:
    """What takes the candidate back by itself; None does not count."""

    error_rate_above: float | None = None
    latency_p95_ratio_above: float | None = None
    rating_loss_above: float | None = None
    metrics: tuple[MetricRule, ...] = ()

    @property
    def count(self) -> int:
        """How many of them are set."""
        limits = (self.error_rate_above, self.latency_p95_ratio_above, self.rating_loss_above)
        return sum(limit is not None for limit in (*limits, *(each.loss_above for each in self.metrics)))

    def violations(self, path: str) -> Iterator[Violation]:
        """Yield what is out of bounds."""
        bounds = {
            "error_rate_above": (self.error_rate_above, 0.0, 1.0),
            "latency_p95_ratio_above": (self.latency_p95_ratio_above, 1.0, 1000.0),
            "rating_loss_above": (self.rating_loss_above, 0.0, 1.0),
        }
        for name, (value, low, high) in bounds.items():
            if value is not None and not low <= value <= high:
                yield Violation(f"{path}.{name}", f"is {value:g}; use {low:g} to {high:g}")
        if len(self.metrics) > MAX_METRIC_RULES:
            yield Violation(f"{path}.metrics", f"has {len(self.metrics)}; use at most {MAX_METRIC_RULES}")
        known: set[str] = set()
        for number, rule in enumerate(self.metrics[:MAX_METRIC_RULES]):
            yield from rule.violations(f"{path}.metrics[{number}]")
            if rule.metric in known:
                yield Violation(f"{path}.metrics[{number}].metric", f"is {rule.metric}, which has a rule already")
            known.add(rule.metric)


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutPolicy:
    """The whole policy."""

    steps: tuple[RolloutStep, ...]
    gate: str = ""
    """The gate of versions of the model that is followed; "" follows none."""
    sticky_by: StickyBy = StickyBy.END_USER
    abort: AbortRules = field(default_factory=AbortRules)
    on_timeout: OnTimeout = OnTimeout.HOLD
    approvals: int = 0
    approver: str = OPERATOR
    """The role of the people whose approvals count."""
    index_gate: str = ""
    """The gate of index versions of the collection that is searched; "" follows none."""
    prompt_gate: str = ""
    """The gate of versions of the prompt that goes live by rollout; "" follows none."""

    def violations(self, path: str) -> Iterator[Violation]:
        """Yield what is out of bounds."""
        if not (self.gate or self.index_gate or self.prompt_gate):
            yield Violation(f"{path}.gate", "is required, or index_gate or prompt_gate")
        if not 1 <= len(self.steps) <= MAX_STEPS:
            yield Violation(f"{path}.steps", f"has {len(self.steps)}; use 1 to {MAX_STEPS}")
        for number, step in enumerate(self.steps):
            yield from step.violations(f"{path}.steps[{number}]")
        yield from self._order(path)
        yield from self.abort.violations(f"{path}.abort")
        yield from self._unreachable(f"{path}.abort")
        yield from self.approval.violations(f"{path}.approval")

    @property
    def gates(self) -> str:
        """The gates as a text names them."""
        return " or ".join(filter(None, (self.gate, self.index_gate, self.prompt_gate)))

    @property
    def approval(self) -> ApprovalPolicy:
        """Who has to agree to the promotion."""
        return ApprovalPolicy(count=self.approvals, role=self.approver)

    def kept(self, step: RolloutStep) -> int:
        """How many of a step's newest outcomes are kept: what its end needs, and the values that it waits for."""
        if step.shadow:
            return step.kept
        values = max((rule.at_least for rule in self.abort.metrics), default=0)
        return max(step.kept, min(MAX_KEPT, ceil(KEPT_OF_VALUES * values * MAX_WEIGHT / step.smaller_percent)))

    def _unreachable(self, path: str) -> Iterator[Violation]:
        """Yield rules that wait for more values than the answers that are kept could have."""
        percents = [step.smaller_percent for step in self.steps if 1 <= step.weight <= MAX_WEIGHT]
        limit = MAX_KEPT * min(percents, default=MAX_WEIGHT) // (MAX_WEIGHT * KEPT_OF_VALUES)
        for number, rule in enumerate(self.abort.metrics[:MAX_METRIC_RULES]):
            if limit < rule.at_least <= MAX_REQUESTS:
                text = f"is {rule.at_least}; the steps keep the answers for {limit} values of each side: use no more"
                yield Violation(f"{path}.metrics[{number}].at_least", text)

    def maturity_problem(self, rule: MetricRule, *, matures_after: timedelta) -> str:
        """Return why steps end before the values of a metric count, "" where they wait for them."""
        if not matures_after:
            return ""
        hours = f"which matures after {matures_after.total_seconds() / 3600:g} h"
        if not rule.at_least:
            return f"{hours}, and no step waits for its values: set at_least"
        for number, step in enumerate(self.steps):
            if not step.shadow and step.at_most <= matures_after:
                limit = f"at_most, which is {step.at_most.total_seconds() / 3600:g} h"
                return f"{hours}, and step {number} ends before that by its {limit}: make it longer"
        return ""

    def _order(self, path: str) -> Iterator[Violation]:
        """Yield the steps that do not follow from the one before: shadow steps come first, weights rise."""
        for number, (before, step) in enumerate(zip(self.steps, self.steps[1:], strict=False), start=1):
            if step.shadow and not before.shadow:
                text = "is true; shadow steps come before those with a weight"
                yield Violation(f"{path}.steps[{number}].shadow", text)
            elif not step.shadow and step.weight <= before.weight:
                text = f"is {step.weight}; weights rise, and the step before has {before.weight}"
                yield Violation(f"{path}.steps[{number}].weight", text)
