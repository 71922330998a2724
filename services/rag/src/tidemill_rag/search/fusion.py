"""One ranking of several, and one passage of those with the same text."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Final

from tidemill_rag.vectors.ports import Match

RANK_OFFSET: Final = 2.0
"""Ranks from which weights decline, as in the fusion of vectors and terms: 1, 2/3, 1/2, 2/5 ..."""


def fused(rankings: Sequence[Sequence[Match]], *, comparable: bool) -> list[Match]:
    """Fuse the rankings of several collections by weighted reciprocal ranks (RRF, Cormack et al., 2009).

    A passage is in one of them only, so by its rank alone the second of a collection that answers would be behind the
    first of one that does not. Where relevances are `comparable`, a ranking counts by the square of its best relevance,
    in relation to the best of all: of what was measured (`python -m tests.bench.retrieval`) that kept most of what the
    documents in one collection find.
    """
    best = [max((match.relevance for match in ranking), default=0.0) for ranking in rankings]
    highest = max(best, default=0.0)
    weights: dict[int, float] = {}
    for ranking, relevance in zip(rankings, best, strict=True):
        share = max(0.0, relevance / highest) ** 2 if comparable and highest > 0 else 1.0
        for rank, match in enumerate(ranking):
            weights[id(match)] = share * RANK_OFFSET / (rank + RANK_OFFSET)
    everything = chain.from_iterable(rankings)
    return merged(sorted(everything, key=lambda match: (-weights[id(match)], -match.relevance)))


def merged(matches: Sequence[Match]) -> list[Match]:
    """Merge matches with the same text into the best one, which lists the other documents in `also_in`."""
    by_text: dict[str, Match] = {}
    for match in matches:
        text, payload = " ".join(match.payload.text.split()), match.payload
        first = by_text.setdefault(text, match)
        name = f"{payload.source}/{payload.key}"
        if payload.document != first.payload.document and name not in first.also_in:
            titles = (*first.also_titled, payload.title)
            by_text[text] = replace(first, also_in=(*first.also_in, name), also_titled=titles)
    return list(by_text.values())
