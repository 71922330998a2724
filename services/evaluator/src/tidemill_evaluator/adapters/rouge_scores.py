"""ROUGE-L by rouge-score, Google Research's own implementation of Lin (2004)."""

import asyncio
from collections.abc import Sequence
from functools import cache
from typing import Any


class RougeScores:
    """Implements `ports.Scores`: F-measure of the longest common subsequence of words, `use_stemmer=False`."""

    async def rouge_l(self, reference: str, texts: Sequence[str]) -> Sequence[float]:
        """See `Scores.rouge_l`."""
        return await asyncio.to_thread(lambda: [_f_measure(reference, text) for text in texts])


def _f_measure(reference: str, text: str) -> float:
    return float(_scorer().score(reference, text)["rougeL"].fmeasure)


@cache
def _scorer() -> Any:  # noqa: ANN401 - the library has no types
    from rouge_score.rouge_scorer import RougeScorer  # noqa: PLC0415 - 60 MB that a service at rest does not need

    return RougeScorer(["rougeL"], use_stemmer=False)
