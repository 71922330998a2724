"""How far a rater can be relied on: how often others confirmed their corrections, and how often they contradicted."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import comb

from tidemill_feedback.curations.domain.agreement import Agreement, measures_of
from tidemill_feedback.curations.domain.ledger import Row

PRIOR = 4, 1
"""Questions on which a rater counts as confirmed and as contradicted before there is any evidence."""
CONFIDENCE = 0.95
_MAX_EVIDENCE = 200
"""Questions that are counted; of more, the same proportion."""
_HALVINGS = 40


def reliabilities(rows: Sequence[Row], agreed: Agreement) -> Mapping[str, float]:
    """Return the reliability of each user with evidence; that of all others is `reliability(0, 0)`.

    A question counts once, as contradicted if any correction of it was. Who has no pseudonym has no reliability.
    """
    confirmed: defaultdict[str, set[str]] = defaultdict(set)
    contradicted: defaultdict[str, set[str]] = defaultdict(set)
    for row in rows:
        if not row.by_user or row.anonymous:
            continue
        if row.candidate.feedback in agreed.contradicted:
            contradicted[row.candidate.end_user].add(measures_of(row).question)
        elif row.candidate.feedback in agreed.confirmed:
            confirmed[row.candidate.end_user].add(measures_of(row).question)
    return {
        user: reliability(len(confirmed[user] - contradicted[user]), len(contradicted[user]))
        for user in {*confirmed, *contradicted}
    }


def reliability(confirmed: int, contradicted: int) -> float:
    """Return the lower bound of the share of questions on which a rater is right, with a confidence of 95 %.

    The posterior of a beta-binomial model (Gelman et al., Bayesian Data Analysis, 2013, 2.4) whose prior trusts a rater
    who is new: .47 without evidence, below .2 after the fourth contradiction that no confirmation outweighs.
    """
    evidence = confirmed + contradicted
    if evidence > _MAX_EVIDENCE:
        confirmed = round(confirmed * _MAX_EVIDENCE / evidence)
        contradicted = _MAX_EVIDENCE - confirmed
    return _quantile(PRIOR[0] + confirmed, PRIOR[1] + contradicted)


@lru_cache(maxsize=4096)
def _quantile(alpha: int, beta: int) -> float:
    """Return what a beta-distributed number exceeds with the confidence, by halving."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _below(middle, alpha, beta) < 1 - CONFIDENCE:
            low = middle
        else:
            high = middle
    return low


def _below(share: float, alpha: int, beta: int) -> float:
    """Return the beta distribution function: that of whole numbers is a sum of the binomial one."""
    trials = alpha + beta - 1
    return sum(comb(trials, hits) * share**hits * (1 - share) ** (trials - hits) for hits in range(alpha, trials + 1))
