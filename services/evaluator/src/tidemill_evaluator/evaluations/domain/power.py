"""How probably a requirement of a gate finds a gain."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from math import ceil

from tidemill_evaluator.evaluations.domain.clusters import Traits
from tidemill_evaluator.gates.domain.gate import Requirement

MIN_DIFFERENCES = 20
"""With fewer, their spread is not known: it would be found too small, and by chance nearly none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """What the lower bound of an interval of so many clusters (independent observations) has to be above."""

    above: float
    confidence: float
    clusters: int

    def of(self, clusters: int) -> "Bound":
        """Return the same of another number of them."""
        return replace(self, clusters=clusters)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """How many different questions a set has, and how many clusters."""

    questions: int
    clusters: int

    @classmethod
    def of(cls, cases: Collection[Traits]) -> "Counted":
        """Count those of a set's cases."""
        return cls(questions=len({each.question for each in cases}), clusters=len({each.cluster for each in cases}))

    def questions_in(self, clusters: int) -> int:
        """Return how many questions so many clusters like these have."""
        return ceil(clusters * self.questions / self.clusters)


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """How probably questions show a gain."""

    of_gain: float
    """Probability that the gain asked for is shown."""
    detectable_gain: float | None
    """The smallest gain that is shown with the power asked for; None where no gain is."""
    needed: int
    """So many clusters show the gain asked for with that power; 0 where no number does."""
    deviation: float
    """Standard deviation of the differences that it rests on."""
    assumed: bool = False
    """Whether it is assumed: no difference is known, or fewer than MIN_DIFFERENCES, or all are alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequirementPower:
    """How probably a requirement finds a gain, and what that rests on; without figures `message` says why."""

    case_set: str
    metric: str
    gain_above: float
    gain: float
    questions: int = 0
    confidence: float = 0.0
    deviation: float = 0.0
    evaluation: str = ""
    """From which the deviation is known; "" where it is assumed."""
    power: float | None = None
    detectable_gain: float | None = None
    needed_questions: int = 0
    message: str = ""
    clusters: int = 0
    """Those that the questions are in, each one observation."""

    @classmethod
    def of(cls, requirement: Requirement, gain: float) -> "RequirementPower":
        """Return it without figures."""
        return cls(
            case_set=requirement.suite or requirement.dataset,
            metric=requirement.metric,
            gain_above=requirement.gain_above,
            gain=gain,
        )

    def stated(
        self, counted: Counted, bound: Bound, power: Power, *, minimum: int, evaluation: str
    ) -> "RequirementPower":
        """Return it with its figures; with fewer questions than the minimum the requirement cannot hold.

        `evaluation` is the one whose differences are known, "" without any.
        """
        enough = counted.questions >= minimum
        notes = [] if enough else [f"it needs at least {minimum} different questions: add cases"]
        if counted.clusters < counted.questions and power.needed > counted.clusters:
            others = "other users, or of what else `cluster_by` names"
            text = f"it needs {power.needed} clusters, and there are {counted.clusters}: add cases of {others}"
            notes.append(text)
        if evaluation and power.assumed:
            few = f"fewer than {MIN_DIFFERENCES} independent answers, or all alike"
            notes.append(f"its deviation is assumed: {evaluation} has {few}")
        return replace(
            self,
            questions=counted.questions,
            clusters=counted.clusters,
            confidence=bound.confidence,
            deviation=power.deviation,
            evaluation="" if power.assumed else evaluation,
            power=power.of_gain if enough else 0.0,
            detectable_gain=power.detectable_gain if enough else None,
            needed_questions=max(counted.questions_in(power.needed), minimum) if power.needed else 0,
            message="; ".join(notes),
        )
