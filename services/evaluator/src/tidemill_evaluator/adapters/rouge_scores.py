"""ROUGE-L of Lin (2004), with the longest common subsequence of Hyyrö (2004): a bit for each word of the reference.

The table that rouge-score fills has a cell for every pair of words: an answer of a megabyte would take gigabytes and
hours. This takes a step for each word of the answer, and comes to the same number.
"""

import asyncio
from collections.abc import Sequence

from tidemill_evaluator.domain.words import same_signs, words_of


class RougeScores:
    """Implements `ports.Scores`: F-measure of the longest common subsequence of words, without stemming.

    Texts without any word are equal where their signs are.
    """

    async def rouge_l(self, reference: str, texts: Sequence[str]) -> Sequence[float]:
        """See `Scores.rouge_l`."""
        return await asyncio.to_thread(lambda: [_f_measure(reference, text) for text in texts])


def _f_measure(reference: str, text: str) -> float:
    pending, given = words_of(reference), words_of(text)
    if not pending and not given:
        return float(same_signs(reference, text))  # nothing that ROUGE could count
    common = _common(pending, given)
    return 2 * common / (len(pending) + len(given))


def _common(pending: Sequence[str], given: Sequence[str]) -> int:
    """Return the length of the longest common subsequence."""
    places: dict[str, int] = {}
    for number, word in enumerate(pending):
        places[word] = places.get(word, 0) | 1 << number
    every = left = (1 << len(pending)) - 1
    for word in given:
        if here := left & places.get(word, 0):
            left = ((left + here) | (left - here)) & every
    return len(pending) - left.bit_count()
