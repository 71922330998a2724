"""What is declared of an experiment: its arms, what is to be better, and what must not get worse."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from tidemill_core.errors import Violation
from tidemill_core.resources import MAX_LABEL_LENGTH, slug_violations
from tidemill_inference.deployments.domain.configuration import Retrieval, Sampling, SamplingLimits
from tidemill_inference.rollouts.domain.policy import RATING
from tidemill_inference.rollouts.domain.step_counts import CANDIDATE, LIVE

MIN_ARMS, MAX_ARMS = 2, 8
MAX_GUARDRAILS = 5
MAX_COHORT_LABELS = 3
DEFAULT_MAX_COHORTS, MAX_COHORTS = 5, 10
"""Values of a label that have results of their own."""
ALL = 100
"""Per cent."""
_RESERVED = frozenset({LIVE, CANDIDATE})


class Measure(Enum):
    """What is measured of answers."""

    METRIC = 1
    FAILURES = 2
    LATENCY = 3
    COST = 4


class Weighting(Enum):
    """How requests are divided among arms."""

    FIXED = 1
    ADAPTIVE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A measure as a score of 0 (worst) to 1 (best): what costs or takes `worst` or more has 0."""

    measure: Measure = Measure.METRIC
    metric: str = ""
    worst: float = 0.0

    @property
    def name(self) -> str:
        """The metric, or the measure as a text names it."""
        return self.metric or self.measure.name.lower()

    @property
    def declared(self) -> str:
        """The metric that the project has to declare, "" where it is none of those."""
        return self.metric if self.metric != RATING else ""

    def score(self, amount: float) -> float:
        """Return the score of so many seconds, or of so much money."""
        return 1.0 - min(max(amount, 0.0), self.worst) / self.worst

    def violations(self, path: str) -> Iterator[Violation]:
        """Yield what is out of bounds."""
        if self.measure is Measure.METRIC:
            yield from slug_violations(f"{path}.metric", self.metric)
        elif self.metric:
            text = f"is set beside measure {self.measure.name}: leave one of them out"
            yield Violation(f"{path}.metric", text)
        if self.measure in {Measure.LATENCY, Measure.COST}:
            if not (math.isfinite(self.worst) and self.worst > 0):
                unit = "seconds" if self.measure is Measure.LATENCY else "money in the installation's currency"
                yield Violation(f"{path}.worst", f"is {self.worst:g}; use {unit} above 0")
        elif self.worst:
            yield Violation(f"{path}.worst", f"is {self.worst:g}; only LATENCY and COST have it: leave it out")


@dataclass(frozen=True, slots=True, kw_only=True)
class Guardrail:
    """What an arm must not lose: the control's mean score less the arm's."""

    measure: Measure = Measure.METRIC
    metric: str = ""
    worst: float = 0.0
    loss_above: float = 0.0

    @property
    def measured(self) -> Measured:
        """What it is about."""
        return Measured(measure=self.measure, metric=self.metric, worst=self.worst)

    def violations(self, path: str) -> Iterator[Violation]:
        """Yield what is out of bounds."""
        yield from self.measured.violations(path)
        if not 0.0 <= self.loss_above < 1.0:
            yield Violation(f"{path}.loss_above", f"is {self.loss_above:g}; use 0 to below 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """A variant of what is live, as written; what it leaves out stays as it is live."""

    name: str
    control: bool = False
    weight: int = 0
    model: str = ""
    prompt: str = ""
    sampling: Sampling | None = None
    retrieval: Retrieval | None = None

    @property
    def changes(self) -> Sequence[str]:
        """The names of what it changes."""
        named = ("model", "prompt", "sampling", "retrieval")
        return [each for each in named if getattr(self, each)]

    def violations(self, path: str, limits: SamplingLimits) -> Iterator[Violation]:
        """Yield what is out of bounds."""
        yield from slug_violations(f"{path}.name", self.name)
        if self.name in _RESERVED:
            yield Violation(f"{path}.name", f"is {self.name}, which names variants of rollouts: use another name")
        if self.control and (changes := self.changes):
            text = f"is true, and it has {', '.join(changes)}: the control answers as the deployment does"
            yield Violation(f"{path}.control", text)
        if not self.control and not self.changes:
            yield Violation(path, "changes nothing: set model, prompt, sampling or retrieval")
        if self.sampling:
            yield from self.sampling.violations(f"{path}.sampling", limits)
        if self.retrieval:
            yield from self.retrieval.violations(f"{path}.retrieval")


@dataclass(frozen=True, slots=True, kw_only=True)
class CohortPlan:
    """By which labels of requests results are shown, and how many values of each have results of their own."""

    labels: tuple[str, ...] = ()
    max_values: int = DEFAULT_MAX_COHORTS

    def family(self, arms: int) -> int:
        """Return how many comparisons with the control there may ever be: of named values, and of no value."""
        return len(self.labels) * (self.max_values + 1) * (arms - 1)

    def violations(self, path: str, *, max_values: int) -> Iterator[Violation]:
        """Yield what is out of bounds."""
        if len(self.labels) > MAX_COHORT_LABELS:
            yield Violation(f"{path}.labels", f"has {len(self.labels)}; use at most {MAX_COHORT_LABELS}")
        for number, label in enumerate(self.labels[:MAX_COHORT_LABELS]):
            if not 0 < len(label) <= MAX_LABEL_LENGTH:
                text = f"has {len(label)} characters; use 1 to {MAX_LABEL_LENGTH}"
                yield Violation(f"{path}.labels[{number}]", text)
            elif label in self.labels[:number]:
                yield Violation(f"{path}.labels[{number}]", f"is {label[:80]}, which is there twice: leave one out")
        if self.labels and not 1 <= self.max_values <= max_values:
            yield Violation(f"{path}.max_values", f"is {self.max_values}; use 1 to {max_values}")


WITHOUT_COHORTS = CohortPlan()


def arms_violations(
    path: str, arms: Sequence[Arm], weighting: Weighting, limits: SamplingLimits
) -> Iterator[Violation]:
    """Yield what is wrong with arms, each and together."""
    if not MIN_ARMS <= len(arms) <= MAX_ARMS:
        yield Violation(path, f"has {len(arms)}; use {MIN_ARMS} to {MAX_ARMS}")
    names: set[str] = set()
    for number, arm in enumerate(arms[:MAX_ARMS]):
        yield from arm.violations(f"{path}[{number}]", limits)
        if arm.name in names:
            yield Violation(f"{path}[{number}].name", f"is {arm.name[:80]}, which another arm has")
        names.add(arm.name)
    if (controls := sum(arm.control for arm in arms)) != 1:
        yield Violation(path, f"has {controls} with control: true; use one")
    weights = [arm.weight for arm in arms]
    if not any(weights):
        return
    if weighting is Weighting.ADAPTIVE:
        yield Violation(path, "have weights beside adaptive weighting, which sets them: leave them out")
    elif min(weights) < 1 or sum(weights) != ALL:
        yield Violation(path, f"have weights {', '.join(map(str, weights))}; use 1 or more each, {ALL} together")


def guardrail_violations(path: str, guardrails: Sequence[Guardrail]) -> Iterator[Violation]:
    """Yield what is wrong with guardrails."""
    if len(guardrails) > MAX_GUARDRAILS:
        yield Violation(path, f"has {len(guardrails)}; use at most {MAX_GUARDRAILS}")
    known: set[str] = set()
    for number, each in enumerate(guardrails[:MAX_GUARDRAILS]):
        yield from each.violations(f"{path}[{number}]")
        if each.measured.name in known:
            yield Violation(f"{path}[{number}]", f"is of {each.measured.name}, which has one already")
        known.add(each.measured.name)


def equal_shares(number: int) -> tuple[int, ...]:
    """Return shares in percent of so many arms, which add up."""
    return tuple(ALL * (each + 1) // number - ALL * each // number for each in range(number))
