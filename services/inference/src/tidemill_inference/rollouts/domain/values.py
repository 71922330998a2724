"""What users and others said of the answers of a step, counted by metric: by who said it, and by weight."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from tidemill_inference.rollouts.domain.evidence import Bounds, Weighted, difference

_EXACT_SCORES = 240
"""So many different scores of a side are counted as they are."""
_SCORE_STEPS = 240
"""More are counted in so many steps, which halves to tenths are on; between two, each side gets the one that speaks for
the candidate."""
_NOISE = 1e-9
"""Below it, numbers differ by how they were added up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenValue:
    """One value of a metric, as a score: 0 (worst) to 1 (best).

    `user` is a digest of the end user who gave it; "" for users without a pseudonym, reviewers and judges.
    """

    metric: str
    score: float
    weight: float = 1.0
    user: str = ""
    mature_time: datetime | None = None
    """Until when answers without a value say nothing yet: before that, values are one-sided, and do not count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SideValues:
    """What the values of one metric say of one side.

    `number` is the effective number of values (Kish): what all of a user come to is one.
    """

    mean: float | None = None
    number: float = 0.0
    immature: int = 0
    samples: Weighted = field(default_factory=dict, compare=False, repr=False)
    """Scores with their counts by weight; not kept with a rollout."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricCounts:
    """What a step has of a declared metric."""

    metric: str
    candidate: SideValues = field(default_factory=SideValues)
    baseline: SideValues = field(default_factory=SideValues)
    difference: Bounds | None = None
    """Of the means, at any time; None where a side has no value, or where they were not asked for."""

    def with_difference(self, *, error: float) -> "MetricCounts":
        """Return it with the bounds of the difference."""
        ours, theirs = self.candidate, self.baseline
        if ours.mean is None or theirs.mean is None:
            return self
        return replace(self, difference=difference(ours.samples, theirs.samples, error=error))

    def reached(self, number: int, *, without_baseline: bool) -> bool:
        """Whether each side that answers has so many values."""
        least = self.candidate.number if without_baseline else min(self.candidate.number, self.baseline.number)
        return is_enough(least, number)


def is_enough(values: float, at_least: int) -> bool:
    """Whether an effective number of values is as large as what is needed, but for how it was rounded."""
    return values >= at_least - _NOISE


Given = Mapping[str, Sequence[tuple[str, GivenValue]]]
"""The values of one side by metric, each with the inference that it is about."""


def by_metric(values: Iterable[tuple[str, GivenValue]]) -> Given:
    """Return values by their metric."""
    found: defaultdict[str, list[tuple[str, GivenValue]]] = defaultdict(list)
    for inference, value in values:
        found[value.metric].append((inference, value))
    return found


def counted_metric(metric: str, *, candidate: Given, baseline: Given, now: datetime | None) -> MetricCounts:
    """Return what the values of both sides come to."""
    return MetricCounts(
        metric=metric,
        candidate=side_values(candidate.get(metric, ()), now, rounded=math.ceil),
        baseline=side_values(baseline.get(metric, ()), now, rounded=math.floor),
    )


def mature_times(values: Iterable[GivenValue], *, after: datetime) -> Sequence[datetime]:
    """Return the moments after this one at which values begin to count."""
    return [each.mature_time for each in values if each.mature_time and each.mature_time > after]


def side_values(
    values: Iterable[tuple[str, GivenValue]], now: datetime | None, *, rounded: Callable[[float], int]
) -> SideValues:
    """Return what the values of one metric, each with its inference, say of one side; `rounded` where many differ."""
    voices: defaultdict[tuple[bool, str], list[GivenValue]] = defaultdict(list)
    immature = 0
    for inference, value in values:
        if value.weight <= 0:
            continue
        if now and value.mature_time and value.mature_time > now:
            immature += 1
            continue
        voices[bool(value.user), value.user or inference].append(value)
    means = [_mean(given) for given in voices.values()]
    total = math.fsum(weight for _, weight in means)
    if not means:
        return SideValues(immature=immature)
    greatest = max(weight for _, weight in means)
    shares = [weight / greatest for _, weight in means]  # equal ones are ones, and add up to what they count
    return SideValues(
        mean=math.fsum(score * weight for score, weight in means) / total,
        number=math.fsum(shares) ** 2 / math.fsum(share**2 for share in shares),
        immature=immature,
        samples=_samples(means, rounded),
    )


def _samples(means: Sequence[tuple[float, float]], rounded: Callable[[float], int]) -> Weighted:
    """Return scores with their counts by weight: exact ones, unless too many differ."""
    exact = [(round(score, 12), weight) for score, weight in means]
    if len(set(exact)) > _EXACT_SCORES:
        exact = [(rounded(round(score * _SCORE_STEPS, 9)) / _SCORE_STEPS, weight) for score, weight in exact]
    samples: dict[float, Counter[float]] = {}
    for score, weight in exact:
        samples.setdefault(weight, Counter())[score] += 1
    return samples


def _mean(given: Sequence[GivenValue]) -> tuple[float, float]:
    """Return the mean score of one voice, and its weight: what was said often weighs no more than once."""
    total = math.fsum(each.weight for each in given)
    return math.fsum(each.score * each.weight for each in given) / total, max(each.weight for each in given)
