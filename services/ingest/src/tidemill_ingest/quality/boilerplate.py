"""What repeats across the documents of a source, such as menus, footers and notices: blocks of their texts, counted.

A block is a run of lines without an empty one between. Blocks are alike that differ in marks, case, white space and the
targets of links alone, or in the number of a page and a year. Other numbers, as amounts, are a document's own. Pure.
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
_PAGE = re.compile(
    r"\b(?:page|seite|pagina|página|strona|stranica|side|sida|sivu|oldal)\s{0,3}\d{1,4}"
    r"(?:\s{0,3}(?:of|von|sur|de|di|da|van|av|af|z|/)\s{0,3}\d{1,4})?(?![\d.,]*\d)",
    re.IGNORECASE,
)
_YEAR = re.compile(r"(?:19|20)\d\d")
_NUMBER = re.compile(r"\d+")
_MARKS = re.compile(r"[\W_]+")
_OWN = ("#", "|")
_FENCE = re.compile(r"\s*(`{3,}(?=[^`]*$)|~{3,})")
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
    found = [block for block in _without_code(text) if not block[0].lstrip().startswith(_OWN)]
    half = max_blocks // 2
    chosen = found if len(found) <= max_blocks else [*found[:half], *found[len(found) - half :]]
    return tuple(
        TextBlock(digest=hashlib.sha256(alike.encode()).hexdigest()[:16], start=block.start(), end=block.end())
        for block in chosen
        if len(_NUMBER.sub("", alike := _alike(block[0]))) >= MIN_LETTERS
    )


def spans_of(text: str, blocks: Sequence[TextBlock], repeated: Collection[str]) -> tuple[Span, ...]:
    """Return where the blocks that repeat are; those with nothing but white space between are one span."""
    return tuple(_joined(text, [block for block in blocks if block.digest in repeated]))


def digest_of(repeated: Collection[str]) -> str:
    """Return what is equal where the same blocks repeat, "" where none does."""
    return hashlib.sha256(" ".join(sorted(repeated)).encode()).hexdigest()[:32] if repeated else ""


def _without_code(text: str) -> Iterator[re.Match[str]]:
    """Return the blocks that no line of fenced code is in (CommonMark 0.31, 4.5), though it have empty lines."""
    fence = ""
    for block in _BLOCK.finditer(text):
        has_code = bool(fence)
        for line in block[0].split("\n"):
            mark = _FENCE.match(line)
            if mark and not fence:
                fence, has_code = mark[1], True
            elif mark and mark[1].startswith(fence) and mark[1] == line.strip():
                fence = ""
        if not has_code:
            yield block


def _alike(block: str) -> str:
    """Return what is equal for blocks that are alike: letters, and numbers but those of pages and one year."""
    text = _PAGE.sub("", _TARGET.sub("]", block))
    numbers = _NUMBER.findall(text)
    if len(numbers) == 1 and _YEAR.fullmatch(numbers[0]):
        text = _NUMBER.sub("", text)
    return _MARKS.sub("", text).casefold()


def _joined(text: str, blocks: Sequence[TextBlock]) -> Iterator[Span]:
    start, end = 0, 0
    for block in blocks:
        if end and text[end : block.start].strip():
            yield Span(start=start, end=end)
            start = block.start
        start, end = (start if end else block.start), block.end
    if end:
        yield Span(start=start, end=end)
