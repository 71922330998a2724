"""Found passages with those before and after them, of the same document version."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tidemill_rag.collections.domain.collection import IndexRef
from tidemill_rag.indexing.domain.places import together
from tidemill_rag.vectors.ports import Match, Payload, VectorStore

_Version = tuple[str, int]
"""A document, and the event that its passages are of."""


@dataclass(frozen=True, slots=True)
class _Run:
    """Passages `first` to `last` of a version, as one; `best` is what was found of it."""

    best: Match
    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """Reads what stands around found passages, and joins it to them."""

    vectors: VectorStore

    async def __call__(self, index: IndexRef, matches: Sequence[Match], *, count: int) -> Sequence[Match]:
        """Return the matches in their order, each with up to `count` passages before and after it.

        What would overlap or touch becomes one match, in the place of the better one. A match of an index that does not
        know the order of its passages stays as it is.
        """
        known = {_place(match.payload): match.payload for match in matches}
        missing = {
            (version, number): index.point_id(*version, number)
            for (version, ordinal) in known
            for number in range(max(0, ordinal - count), ordinal + count + 1)
            if ordinal >= 0 and (version, number) not in known
        }
        there = await self.vectors.payloads(index.key, list(missing.values())) if missing else {}
        known |= {place: there[point] for place, point in missing.items() if point in there}
        runs: list[_Run] = []
        for match in matches:
            runs = _added(runs, _run(match, known, count), known)
        return [_joined(run, known) for run in runs]


def _place(payload: Payload) -> tuple[_Version, int]:
    return (payload.document, payload.seq), payload.ordinal


def _run(match: Match, known: Mapping[tuple[_Version, int], Payload], count: int) -> _Run:
    version, ordinal = _place(match.payload)
    if ordinal < 0:
        return _Run(match, ordinal, ordinal)
    first = last = ordinal
    while first > ordinal - count and _follows(version, first, known):
        first -= 1
    while last < ordinal + count and _follows(version, last + 1, known):
        last += 1
    return _Run(match, first, last)


def _follows(version: _Version, ordinal: int, known: Mapping[tuple[_Version, int], Payload]) -> bool:
    """Return whether nothing but white space is between a passage and the one before it, and both are there."""
    passage = known.get((version, ordinal))
    return passage is not None and passage.lead is not None and (version, ordinal - 1) in known


def _added(runs: Sequence[_Run], run: _Run, known: Mapping[tuple[_Version, int], Payload]) -> list[_Run]:
    """Add a run, and join those that it meets, into the place of the best of them."""
    version, ordinal = _place(run.best.payload)
    met = [
        each for each in runs if ordinal >= 0 and _place(each.best.payload)[0] == version and _meet(each, run, known)
    ]
    if not met:
        return [*runs, run]
    best = met[0].best
    others = [name for each in (*met[1:], run) for name in each.best.also_in]
    union = _Run(
        replace(best, also_in=tuple(dict.fromkeys([*best.also_in, *others]))),
        min(each.first for each in (*met, run)),
        max(each.last for each in (*met, run)),
    )
    return [union if each is met[0] else each for each in runs if each is met[0] or each not in met]


def _meet(one: _Run, other: _Run, known: Mapping[tuple[_Version, int], Payload]) -> bool:
    version, (left, right) = _place(one.best.payload)[0], sorted((one, other), key=lambda run: run.first)
    return left.last >= right.first or (left.last + 1 == right.first and _follows(version, right.first, known))


def _joined(run: _Run, known: Mapping[tuple[_Version, int], Payload]) -> Match:
    if run.first == run.last:
        return run.best
    version = _place(run.best.payload)[0]
    return replace(run.best, payload=_one(known[version, ordinal] for ordinal in range(run.first, run.last + 1)))


def _one(payloads: Iterable[Payload]) -> Payload:
    """Return consecutive passages as one: their texts without what they share, so that it is the text of the span."""
    first, *others = payloads
    text, end = first.text, first.end
    for each in others:
        text += (each.lead or "") + each.span_text[max(0, end - each.start) :]
        end = max(end, each.end)
    return replace(first, text=text, end=end, places=together([first.places, *(each.places for each in others)]))
