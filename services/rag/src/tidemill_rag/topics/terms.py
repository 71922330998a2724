"""Which words are typical of a cluster of texts."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from tidemill_rag.topics.domain import TopicTerm

MAX_TERMS = 8
MIN_DOCUMENTS = 3
"""A word that fewer documents of a topic have is not said: it may be a name."""
_MIN_LIFT = 1.5
"""A typical word is so many times as frequent in its topic as in the mean of all."""
_WORD = re.compile(r"[^\W\d_][\w'\u2019-]{1,38}[^\W_]")
_MASKED = re.compile(r"\[[A-Z_]{2,20}(?::[^\[\]\s]{1,64})?\]")
"""Placeholders and pseudonyms of identifiers."""


def typical_terms(texts: Sequence[str], members: Sequence[int], *, clusters: int) -> list[tuple[TopicTerm, ...]]:
    """Return the typical words of each cluster.

    By class-based TF-IDF (Grootendorst, BERTopic, 2022): how frequent a word is in a class, times log(1 + A / f), where
    f is how frequent it is in all classes together. Frequencies are shares of documents, and each class counts as much
    as another, so that neither a long document nor a large class decides; the mean A is 1 then. What all classes have,
    such as the stop words of whatever language, is typical of none.
    """
    sizes = Counter(members)
    counts = [Counter[str]() for _ in range(clusters)]
    for text, cluster in zip(texts, members, strict=True):
        counts[cluster].update(words_of(text))
    shares = [{word: count / sizes[each] for word, count in counts[each].items()} for each in range(clusters)]
    total = Counter[str]()
    for of_cluster in shares:
        total.update(of_cluster)
    return [_typical(shares[each], counts[each], total, clusters) for each in range(clusters)]


def still_typical(terms: Sequence[TopicTerm], texts: Sequence[str]) -> tuple[TopicTerm, ...]:
    """Return those of a topic's terms that enough of the texts have, which are left of those that it was made of."""
    counts = Counter(word for text in texts for word in words_of(text))
    return tuple(replace(each, documents=counts[each.term]) for each in terms if counts[each.term] >= MIN_DOCUMENTS)


def words_of(text: str) -> frozenset[str]:
    """Return the different words of a text, case-folded, without placeholders of what was masked."""
    return frozenset(word.casefold() for word in _WORD.findall(_MASKED.sub(" ", text)))


def _typical(
    shares: dict[str, float], counts: Counter[str], total: Counter[str], clusters: int
) -> tuple[TopicTerm, ...]:
    weighed = [
        (share * math.log(1 + 1 / total[word]), word)
        for word, share in shares.items()
        if counts[word] >= MIN_DOCUMENTS and share * clusters >= _MIN_LIFT * total[word]
    ]
    best = sorted(weighed, key=lambda each: (-each[0], each[1]))[:MAX_TERMS]
    return tuple(TopicTerm(term=word, weight=weight, documents=counts[word]) for weight, word in best)
