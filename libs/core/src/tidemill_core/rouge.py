"""ROUGE-L (Lin 2004) with the bit-parallel longest common subsequence of Hyyrö (2004).

rouge-score fills a table with a cell for every pair of words: for an answer of a megabyte gigabytes and hours. This
takes one step per word of the answer and gives the same number.
"""

from collections.abc import Sequence

from tidemill_core.words import same_signs, words_of


def rouge_l(reference: str, text: str) -> float:
    """Return the F-measure of the longest common subsequence of words, without stemming.

    Texts without any word are equal if their signs are.
    """
    expected, given = words_of(reference), words_of(text)
    if not expected and not given:
        return float(same_signs(reference, text))  # no words
    common = _common(expected, given)
    return 2 * common / (len(expected) + len(given))


def _common(expected: Sequence[str], given: Sequence[str]) -> int:
    """Return the length of the longest common subsequence."""
    places: dict[str, int] = {}
    for number, word in enumerate(expected):
        places[word] = places.get(word, 0) | 1 << number
    every = left = (1 << len(expected)) - 1
    for word in given:
        if here := left & places.get(word, 0):
            left = ((left + here) | (left - here)) & every
    return len(expected) - left.bit_count()
