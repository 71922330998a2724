"""What repeats across the documents of a source, such as menus, footers and notices: blocks of their texts, counted.

A block is a run of lines without an empty one between. Blocks are alike that differ in numbers, marks, case, white
space and the targets of links alone, as page numbers and years do. Pure.
"""

import hashlib
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

MIN_LETTERS = 12
"""A block with fewer letters is none: what is so short repeats by chance."""
_BLOCK = re.compile(r"(?:^[^\n]*\S[^\n]*(?:\n|\Z))+", re.MULTILINE)
_TARGET = re.compile(r"\]\([^()\s]*\)")
_NO_LETTERS = re.compile(r"[\W\d_]+")
_OWN = ("#", "|", "```", "~~~")
"""What headings, tables and code begin with: templates repeat them, and what is below is a document's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A part of a text, half-open, in code points."""

    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TextBlock:
    """A block of a text. `digest` is equal for blocks that are alike."""

    digest: str
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockCounts:
    """How many documents of a source were counted, and how many of them have each block."""

    documents: int
    with_block: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class BoilerplateRules:
    """From when on a block is boilerplate: that many documents of the source, and that share of them, have it."""

    min_documents: int = 5
    min_share: float = 0.1

    def repeated(self, digests: Collection[str], counts: BlockCounts) -> frozenset[str]:
        """Return which blocks of a text repeat; none where all do: such a document is a duplicate."""
        least = max(self.min_documents, math.ceil(self.min_share * counts.documents))
        found = frozenset(each for each in digests if counts.with_block.get(each, 0) >= least)
        return frozenset() if len(found) == len(frozenset(digests)) else found


def blocks_of(text: str, *, max_blocks: int) -> tuple[TextBlock, ...]:
    """Return the blocks of a text that may be boilerplate; of more than `max_blocks` the first and the last."""
    found = [block for block in _BLOCK.finditer(text) if not block[0].lstrip().startswith(_OWN)]
    half = max_blocks // 2
    chosen = found if len(found) <= max_blocks else [*found[:half], *found[len(found) - half :]]
    return tuple(
        TextBlock(digest=hashlib.sha256(letters.encode()).hexdigest()[:16], start=block.start(), end=block.end())
        for block in chosen
        if len(letters := _letters(block[0])) >= MIN_LETTERS
    )


def spans_of(text: str, blocks: Sequence[TextBlock], repeated: Collection[str]) -> tuple[Span, ...]:
    """Return where the blocks that repeat are; those with nothing but white space between are one span."""
    return tuple(_joined(text, [block for block in blocks if block.digest in repeated]))


def digest_of(repeated: Collection[str]) -> str:
    """Return what is equal where the same blocks repeat, "" where none does."""
    return hashlib.sha256(" ".join(sorted(repeated)).encode()).hexdigest()[:32] if repeated else ""


def _letters(block: str) -> str:
    return _NO_LETTERS.sub("", _TARGET.sub("]", block)).casefold()


def _joined(text: str, blocks: Sequence[TextBlock]) -> Iterator[Span]:
    start, end = 0, 0
    for block in blocks:
        if end and text[end : block.start].strip():
            yield Span(start=start, end=end)
            start = block.start
        start, end = (start if end else block.start), block.end
    if end:
        yield Span(start=start, end=end)
