"""Answers of all variants to a case, and the figures of a variant over all cases."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from tidemill_evaluator.evaluations.domain.clusters import Traits
from tidemill_evaluator.metrics.domain.metric import COST, LATENCY_S, OUTPUT_TOKENS, Metric
from tidemill_evaluator.suites.domain.cases import DocumentVersion

INPUT_TOKENS = "input_tokens"
SPENT = (LATENCY_S, COST, OUTPUT_TOKENS)
"""Computed in every test, beside what always is."""
TOKENS_IN = Metric(name=INPUT_TOKENS, source="tokens of the rendered prompt", less_is_better=True, bounded=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A variant's answer to a case, or its `failure`."""

    inference: str = ""
    text: str = ""
    failure: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    configuration: str = ""
    """The digest of what answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseCells:
    """The answers to one case, in the order of the variants, and what they rest on."""

    case: str
    cells: tuple[Cell, ...]
    rests_on: tuple[DocumentVersion, ...] = ()
    end_users: tuple[str, ...] = ()
    """Who asked the case or wrote its reference: erased with them."""

    def mean(self, metric: str) -> float | None:
        """Return the mean of a metric over the variants that have a value; None where none has."""
        values = [cell.scores[metric] for cell in self.cells if metric in cell.scores]
        return fmean(values) if values else None


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantMeasure:
    """See the message of this name; None stands for what is unset there."""

    metric: str
    less_is_better: bool
    observations: int
    mean: float
    low: float | None = None
    high: float | None = None
    pairs: int = 0
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantFigures:
    """What came of a variant."""

    answered: int
    failures: int
    failure: str = ""
    measures: tuple[VariantMeasure, ...] = ()


def counted(results: Sequence[CaseCells], variant: int) -> VariantFigures:
    """Return how many cases a variant answered, and why it did not answer the others."""
    reasons = Counter(each.cells[variant].failure for each in results)
    answered = reasons.pop("", 0)
    return VariantFigures(
        answered=answered,
        failures=reasons.total(),
        failure=min(reasons, key=lambda reason: (-reasons[reason], reason)) if reasons else "",
    )


def values_of(results: Sequence[CaseCells], variant: int, metric: str) -> Mapping[str, float]:
    """Return a variant's values of a metric by case."""
    return {each.case: scores[metric] for each in results if metric in (scores := each.cells[variant].scores)}


def observations(values: Mapping[str, float], traits: Mapping[str, Traits]) -> list[float]:
    """Return a value for each set of cases that depend on one another: the mean of its questions, each of its repeats.

    As evaluations have it (Field and Welsh, Bootstrapping clustered data, 2007).
    """
    clusters: defaultdict[int, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for case, value in values.items():
        clusters[traits[case].cluster][traits[case].question].append(value)
    return [fmean(map(fmean, questions.values())) for questions in clusters.values()]
