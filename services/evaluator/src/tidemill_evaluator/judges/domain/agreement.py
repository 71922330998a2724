"""How far a judge agrees with people: kappa, with an interval."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import fmean, pvariance

CONFIDENCE = 0.95
THRESHOLD = 0.5
"""A score of so much, or more, is a judge's yes."""
MAX_UNJUDGED = 0.1
"""Share of the answers that may lack a judgement."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """What people and the judge say of one answer, both from 0 to 1."""

    label: float
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Kappa:
    """A chance-corrected agreement: 1 is whole, 0 that of chance."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeAgreement:
    """How far a version of a judge agrees with people."""

    queue: str
    field: str
    measure: str
    value: float
    low: float
    high: float
    items: int
    unjudged: int
    version: str
    measure_time: datetime


def disagreements(items: Sequence[Labelled]) -> list[float]:
    """Return the squared differences, from 0 to 1."""
    return [(each.label - each.score) ** 2 for each in items]


def expected_disagreement(items: Sequence[Labelled]) -> float:
    """Return the mean squared difference of the label of one item and the score of any."""
    labels, scores = [each.label for each in items], [each.score for each in items]
    return pvariance(labels) + pvariance(scores) + (fmean(labels) - fmean(scores)) ** 2


def kappa_of(items: Sequence[Labelled], *, low: float, high: float) -> Kappa | None:
    """Return kappa; None where all labels and scores are alike, so that chance alone agrees.

    1 less the observed disagreement over that expected by chance (Cohen 1960), with squared differences (Cohen 1968,
    weighted kappa): of yes and no these are 0 and 1, so that it is Cohen's kappa, and of numbers it is Lin's
    concordance correlation (1989). `low` and `high` bound the mean of the observed disagreement; the expected one is
    the sample's.
    """
    expected = expected_disagreement(items)
    if expected <= 0:
        return None
    return Kappa(
        value=1 - fmean(disagreements(items)) / expected,
        low=1 - max(high, 0.0) / expected,
        high=min(1.0, 1 - max(low, 0.0) / expected),
    )
