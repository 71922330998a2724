"""How good a ranking of documents is, by graded judgements; as trec_eval and BEIR compute it."""

import math
from collections.abc import Mapping, Sequence

NDCG, RECALL, MRR, HIT = "ndcg", "recall", "mrr", "hit"
METRICS = (NDCG, RECALL, MRR, HIT)


def ranking_scores(ranking: Sequence[str], grades: Mapping[str, int], *, depth: int) -> dict[str, float]:
    """Return the metrics of the first `depth` documents, each in [0, 1]; all are 0 without a relevant document.

    - `ndcg`: discounted cumulative gain (Järvelin and Kekäläinen, Cumulated gain-based evaluation of IR techniques,
      2002), with the grade as the gain, over that of the best ranking.
    - `recall`: share of the relevant documents that are there.
    - `mrr`: reciprocal rank of the first relevant document.
    - `hit`: whether there is one.
    """
    relevant = {document: grade for document, grade in grades.items() if grade > 0}
    if not relevant:
        return dict.fromkeys(METRICS, 0.0)
    gains = [relevant.get(document, 0) for document in ranking[:depth]]
    found = [rank for rank, gain in enumerate(gains, start=1) if gain]
    return {
        NDCG: _discounted(gains) / _discounted(sorted(relevant.values(), reverse=True)[:depth]),
        RECALL: len(found) / len(relevant),
        MRR: 1 / found[0] if found else 0.0,
        HIT: float(bool(found)),
    }


def _discounted(gains: Sequence[int]) -> float:
    return math.fsum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, start=1))
