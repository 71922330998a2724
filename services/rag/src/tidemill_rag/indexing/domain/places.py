"""Where a passage is in the original of its document: its pages, slides, or rows of a sheet."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class AnchorKind(Enum):
    """What a place is, the outermost first; each kind is counted from 1."""

    CHAPTER = "chapter"
    PAGE = "page"
    SLIDE = "slide"
    SHEET = "sheet"
    ROW = "row"
    RECORD = "record"


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """Where a place begins in a version's text, in code points; it ends where the next one of its kind does."""

    start: int
    kind: AnchorKind
    number: int
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One or several places in a row; `name` is that of one that is alone, "" where it has none."""

    kind: AnchorKind
    first: int
    last: int
    name: str = ""


class Places:
    """The anchors of one version, which are in order, for the many passages of its text."""

    def __init__(self, anchors: Sequence[Anchor]) -> None:
        self._by_kind = {kind: [each for each in anchors if each.kind is kind] for kind in AnchorKind}
        self._starts = {kind: [each.start for each in found] for kind, found in self._by_kind.items()}

    def of(self, start: int, end: int) -> tuple[Place, ...]:
        """Return the places of a span, the outermost kind first; rows of several sheets are not counted together."""
        sheets = self._within(AnchorKind.SHEET, start, end)
        found = list[Place]()
        for kind in AnchorKind:
            inside = self._within(kind, start, end)
            if kind is AnchorKind.ROW and sheets:
                inside = [each for each in inside if each.start >= sheets[0].start] if len(sheets) == 1 else []
            if inside:
                first, last = inside[0], inside[-1]
                name = first.name if first is last else ""
                found.append(Place(kind=kind, first=first.number, last=last.number, name=name))
        return tuple(found)

    def _within(self, kind: AnchorKind, start: int, end: int) -> Sequence[Anchor]:
        """Return the place that a span begins in, and those that begin within it."""
        starts = self._starts[kind]
        return self._by_kind[kind][max(0, bisect_right(starts, start) - 1) : bisect_left(starts, end)]


def together(spans: Sequence[Sequence[Place]]) -> tuple[Place, ...]:
    """Return the places of consecutive spans as those of one; rows of several sheets are not counted together."""
    found = list[Place]()
    for kind in AnchorKind:
        inside = [each for places in spans for each in places if each.kind is kind]
        several = any(each.kind is AnchorKind.SHEET and each.first < each.last for each in found)
        if inside and not (kind is AnchorKind.ROW and several):
            first, last = min(each.first for each in inside), max(each.last for each in inside)
            name = inside[0].name if first == last else ""
            found.append(Place(kind=kind, first=first, last=last, name=name))
    return tuple(found)
