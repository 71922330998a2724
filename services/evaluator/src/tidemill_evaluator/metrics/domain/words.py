"""Metrics that compare words as SQuAD does."""

import re
from collections import Counter

from tidemill_core.words import same_signs, without_punctuation

_ARTICLES = re.compile(r"\b(a|an|the)\b", re.IGNORECASE)


def token_f1(reference: str, text: str) -> float:
    """Return the F1 of shared words.

    Rajpurkar et al., SQuAD: 100,000+ Questions for Machine Comprehension of Text (2016), `f1_score` of
    evaluate-v1.1.py, on Unicode words with their significant signs. Two texts without any word are equal if their signs
    are.
    """
    expected, given = _words(reference), _words(text)
    if not expected or not given:
        return float(expected == given and _same_signs(reference, text))
    common = sum((Counter(expected) & Counter(given)).values())
    return 2 * common / (len(expected) + len(given))


def exact_match(reference: str, text: str) -> float:
    """Return 1 where both have the same words in the same order, else 0.

    `exact_match_score` of the same program, on the same words as `token_f1`.
    """
    expected, given = _words(reference), _words(text)
    if not expected and not given:
        return float(_same_signs(reference, text))
    return float(expected == given)


def _same_signs(one: str, other: str) -> bool:
    return same_signs(*(_ARTICLES.sub(" ", each) for each in (one, other)))


def _words(text: str) -> list[str]:
    """Return the words after SQuAD's normalization: lower case, without punctuation and articles."""
    return _ARTICLES.sub(" ", without_punctuation(text)).split()
