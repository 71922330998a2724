"""Cuts a document into chunks along its structure: what belongs together stays together, up to a number of tokens."""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from tidemill_rag.domain.blocks import Block, blocks_of

Tokenize = Callable[[str], Sequence[tuple[int, int]]]
"""Returns the spans of a text's tokens in order, in code points, without special tokens."""

_SENTENCE_END = re.compile(r"[.!?…]['\")\]]*\s+|[。！？]|(?>\r\n?|\n)\s*(?>\r\n?|\n)")  # noqa: RUF001 - CJK full stops
_LINE_END = re.compile(r"\r\n?|\n")
_LEAST_BODY = 16
"""Tokens that a chunk's own text has at least, however long title and headings are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """How to cut: sizes in tokens of the embedding model; `special` are those that the model adds to every text."""

    max_tokens: int
    overlap_tokens: int
    special: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A span of a document's text (half-open, in code points), and the text that is embedded for it.

    What is embedded is the span with its context in front: the document's title and the headings that the span stands
    under. `context` is empty where there are none.
    """

    ordinal: int
    start: int
    end: int
    embedded: str
    context: str


@dataclass(frozen=True, slots=True)
class _Piece:
    start: int
    end: int
    path: tuple[str, ...]
    heading: bool


def chunk(text: str, *, media_type: str, title: str, tokenize: Tokenize, cut: Cut) -> list[Chunk]:
    """Cut a text into chunks of at most `cut.max_tokens` tokens, title, headings and special tokens counted.

    A block that fits is never cut. Smaller neighbours are packed together, and a heading stays with what follows it.
    A block that is too large is cut where a sentence ends, else where a line ends, else between two tokens; the next
    chunk repeats up to `cut.overlap_tokens` of it. A text without any token has no chunks.
    """
    return [
        Chunk(ordinal=ordinal, start=start, end=end, embedded=prefix + text[start:end], context=prefix.rstrip("\n"))
        for ordinal, (start, end, prefix) in enumerate(_Chunker(text, title, tokenize, cut).spans(media_type))
    ]


class _Chunker:
    def __init__(self, text: str, title: str, tokenize: Tokenize, cut: Cut) -> None:
        self._text = text
        self._title = " ".join(title.split())
        self._tokenize = tokenize
        self._cut = cut
        self._starts = [start for start, _ in tokenize(text)]
        self._prefixes: dict[tuple[str, ...], tuple[str, int]] = {}

    def spans(self, media_type: str) -> Iterator[tuple[int, int, str]]:
        pieces: list[_Piece] = []
        for block in blocks_of(self._text, media_type):
            for piece in self._pieces(block):
                if pieces and self._count(pieces[0].start, piece.end) > self._room(pieces[0].path):
                    closed, pieces = _keep_heading_with_next(pieces)
                    yield from self._close(closed)
                pieces.append(piece)
        yield from self._close(pieces)

    def _close(self, pieces: Sequence[_Piece]) -> Iterator[tuple[int, int, str]]:
        if pieces and self._count(pieces[0].start, pieces[-1].end):
            yield pieces[0].start, pieces[-1].end, self._prefix(pieces[0].path)[0]

    def _pieces(self, block: Block) -> Iterator[_Piece]:
        """Take a block whole where it fits, else its parts, else cut it."""
        if self._count(block.start, block.end) <= self._room(block.path):
            yield _Piece(block.start, block.end, block.path, block.heading)
        elif block.parts:
            for part in block.parts:
                yield from self._pieces(part)
        else:
            for start, end in self._windows(block):
                yield _Piece(start, end, block.path, heading=False)

    def _windows(self, block: Block) -> Iterator[tuple[int, int]]:
        """Cut a block that is too large; each window but the first repeats the end of the one before."""
        first, last = bisect_left(self._starts, block.start), bisect_left(self._starts, block.end)
        room = self._room(block.path)
        ends = [self._ends(block, _SENTENCE_END), self._ends(block, _LINE_END)]
        while last - first > room:
            end = _last_in(ends, first + room // 2, first + room) or first + room
            yield self._starts[first], self._starts[end]
            overlap = min(self._cut.overlap_tokens, (end - first) // 2)
            first = _first_in(ends, end - overlap, end) or end - overlap
        yield self._starts[first], block.end

    def _ends(self, block: Block, pattern: re.Pattern[str]) -> list[int]:
        """Return the tokens at which a sentence or line begins."""
        ends = (match.end() for match in pattern.finditer(self._text, block.start, block.end))
        return sorted({bisect_left(self._starts, end) for end in ends})

    def _count(self, start: int, end: int) -> int:
        return bisect_left(self._starts, end) - bisect_left(self._starts, start)

    def _room(self, path: tuple[str, ...]) -> int:
        """Return how many tokens of its own a chunk under these headings may have."""
        return max(_LEAST_BODY, self._cut.max_tokens - self._cut.special - self._prefix(path)[1])

    def _prefix(self, path: tuple[str, ...]) -> tuple[str, int]:
        """Return title and headings as they stand before the embedded text, and their tokens: at most half of all."""
        if path not in self._prefixes:
            words = " > ".join(dict.fromkeys(part for part in (self._title, *path) if part))
            tokens = self._tokenize(words)
            most = min(len(tokens), self._cut.max_tokens // 2)
            shown = words[: tokens[most - 1][1]] + "\n" if most else ""
            self._prefixes[path] = (shown, most)
        return self._prefixes[path]


def _keep_heading_with_next(pieces: list[_Piece]) -> tuple[list[_Piece], list[_Piece]]:
    """Split off the headings at the end: they open what comes next."""
    end = len(pieces)
    while end > 1 and pieces[end - 1].heading:
        end -= 1
    return pieces[:end], pieces[end:]


def _last_in(kinds: Iterable[Sequence[int]], low: int, high: int) -> int:
    """Return the last place within (low, high], of the first kind that has one; 0 where none has."""
    for places in kinds:
        position = bisect_left(places, high + 1)
        if position and places[position - 1] > low:
            return places[position - 1]
    return 0


def _first_in(kinds: Iterable[Sequence[int]], low: int, high: int) -> int:
    """Return the first place within [low, high), of the first kind that has one; 0 where none has."""
    for places in kinds:
        position = bisect_left(places, low)
        if position < len(places) and places[position] < high:
            return places[position]
    return 0
