"""One ranking of several, and one passage of those with the same text."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Final

from tidemill_rag.vectors.ports import Match

RANK_OFFSET: Final = 2.0
"""Ranks from which weights decline, as in the fusion of vectors and terms: 1, 2/3, 1/2, 2/5 ..."""


def fused(rankings: Sequence[Sequence[Match]], *, comparable: bool) -> list[Match]:
    """Fuse the rankings of several collections by reciprocal ranks (RRF, Cormack et al., 2009).

    A passage is in one of them only, so by its rank alone the second of a collection that answers would be behind the
    first of one that does not. Where relevances are `comparable`, the order by relevance of all counts as much as all
    rankings together.
    """
    everything = list(chain.from_iterable(rankings))
    orders = [(1, ranking) for ranking in rankings]
    if comparable:
        orders.append((len(rankings), sorted(everything, key=lambda match: -match.relevance)))
    weights = dict.fromkeys((id(match) for match in everything), 0.0)
    for weight, order in orders:
        for rank, match in enumerate(order):
            weights[id(match)] += weight * RANK_OFFSET / (rank + RANK_OFFSET)
    return merged(sorted(everything, key=lambda match: (-weights[id(match)], -match.relevance)))


def merged(matches: Sequence[Match]) -> list[Match]:
    """Merge matches with the same text into the best one, which lists the other documents in `also_in`."""
    by_text: dict[str, Match] = {}
    for match in matches:
        text, payload = " ".join(match.payload.text.split()), match.payload
        first = by_text.setdefault(text, match)
        name = f"{payload.source}/{payload.key}"
        if payload.document != first.payload.document and name not in first.also_in:
            by_text[text] = replace(first, also_in=(*first.also_in, name))
    return list(by_text.values())
