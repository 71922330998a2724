"""What the searches of single cases found, and the figures over all of them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, quantiles

from tidemill_core.rankings import METRICS

LATENCY = "latency_ms"
MEASURED = (*METRICS, LATENCY)


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedDocuments:
    """What one side found, best first, or its `failure`."""

    documents: tuple[str, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
    latency_s: float = 0.0
    failure: str = ""

    def value(self, metric: str) -> float:
        """Return a metric's value."""
        return 1000 * self.latency_s if metric == LATENCY else self.scores.get(metric, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalResult:
    """One case, searched by one side or by both. `counts` says whether it is in the figures."""

    case: str
    baseline: RankedDocuments
    candidate: RankedDocuments | None = None
    gone: tuple[str, ...] = ()
    """Relevant documents that are not in the index any more."""
    all_gone: bool = False

    @property
    def failed(self) -> bool:
        """Whether a side could not be asked."""
        return bool(self.baseline.failure or (self.candidate and self.candidate.failure))

    @property
    def counts(self) -> bool:
        """Whether it is in the figures."""
        return not self.failed and not self.all_gone

    def value(self, metric: str) -> float:
        """Return the difference of the sides, or the value of the only one."""
        if self.candidate is None:
            return self.baseline.value(metric)
        return self.candidate.value(metric) - self.baseline.value(metric)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalMeasure:
    """A metric over the questions that count; bounds are of the difference, or of the only side's mean."""

    metric: str
    questions: int
    baseline: float
    candidate: float
    difference: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalLatency:
    """How long a side's searches took."""

    p50_s: float
    p95_s: float


def by_question(results: Sequence[RetrievalResult], questions: Mapping[str, str]) -> list[Sequence[RetrievalResult]]:
    """Group the results that count by question; `questions` maps cases to what repeats share."""
    found = defaultdict[str, list[RetrievalResult]](list)
    for result in results:
        if result.counts:
            found[questions[result.case]].append(result)
    return list(found.values())


def values_of(grouped: Sequence[Sequence[RetrievalResult]], metric: str) -> list[float]:
    """Return the value of a metric per question: the mean of its repeats."""
    return [fmean(each.value(metric) for each in repeats) for repeats in grouped]


def side_mean(grouped: Sequence[Sequence[RetrievalResult]], metric: str, *, candidate: bool) -> float:
    """Return the mean of one side over the questions; 0 of a side that there is not."""
    sides = [[each.candidate if candidate else each.baseline for each in repeats] for repeats in grouped]
    return fmean(fmean(side.value(metric) if side else 0.0 for side in repeats) for repeats in sides)


def latency_of(sides: Sequence[RankedDocuments]) -> RetrievalLatency | None:
    """Return the percentiles of what was asked; None of nothing."""
    took_s = [side.latency_s for side in sides if not side.failure]
    if not took_s:
        return None
    steps = quantiles(took_s, n=20, method="inclusive") if len(took_s) > 1 else took_s * 19
    return RetrievalLatency(p50_s=steps[9], p95_s=steps[18])
