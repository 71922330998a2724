"""ROUGE-L by rouge-score, Google Research's own implementation of Lin (2004)."""

import asyncio
from collections.abc import Sequence
from functools import cache
from typing import Any

from tidemill_evaluator.domain.words import same_signs, words_of


class RougeScores:
    """Implements `ports.Scores`: F-measure of the longest common subsequence of words, without stemming.

    The package's own tokenizer knows a to z and 0 to 9 only; this one gives as many words for ASCII text, with the
    marks that make others of them. Texts without any word are equal where their signs are.
    """

    async def rouge_l(self, reference: str, texts: Sequence[str]) -> Sequence[float]:
        """See `Scores.rouge_l`."""
        return await asyncio.to_thread(lambda: [_f_measure(reference, text) for text in texts])


class _Tokenizer:
    """What rouge-score asks for words."""

    def tokenize(self, text: str) -> list[str]:
        return words_of(text)


def _f_measure(reference: str, text: str) -> float:
    if not words_of(reference) and not words_of(text):
        return float(same_signs(reference, text))  # nothing that ROUGE could count
    return float(_scorer().score(reference, text)["rougeL"].fmeasure)


@cache
def _scorer() -> Any:  # noqa: ANN401 - the library has no types
    from rouge_score.rouge_scorer import RougeScorer  # noqa: PLC0415 - 60 MB that a service at rest does not need

    return RougeScorer(["rougeL"], tokenizer=_Tokenizer())
