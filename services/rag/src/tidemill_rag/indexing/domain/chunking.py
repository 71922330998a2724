"""Splits a document into chunks of up to a number of tokens: along its structure, sentences or rows, or by windows."""

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from tidemill_rag.embedding.domain import MIN_KNOWN
from tidemill_rag.indexing.domain.blocks import Block, blocks_of
from tidemill_rag.indexing.domain.content import Span

Tokenize = Callable[[str], Sequence[tuple[int, int]]]
"""Returns the token spans of a text in order, in code points, without special tokens."""

_SENTENCE_END = re.compile(r"[.!?…]['\")\]]*\s+|[。！？]|(?>\r\n?|\n)\s*(?>\r\n?|\n)")  # noqa: RUF001 - CJK full stops
_LINE_END = re.compile(r"\r\n?|\n")
_MAX_CHARACTERS = 16
"""Characters that count as one token; a vocabulary without a script would make one token of a whole text."""
_MAX_BETWEEN = 64
"""Characters between two tokens that do not count as tokens themselves."""
_JOINED_WITHIN = 32
STRUCTURE, SENTENCE, WINDOW, ROWS = WAYS = ("structure", "sentence", "window", "rows")
"""Ways to split."""
_STREAMS: Final = {SENTENCE: (_SENTENCE_END, _LINE_END), WINDOW: ()}
"""Ways that see a text as one stream, with the patterns behind which a chunk may end."""
_MAX_LEAD = 64
"""Characters between two chunks that are one passage together."""
_MIN_BODY = 16
"""Minimum tokens of a chunk's own text, however long title and headings are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Chunk sizes in tokens of the embedding model; `special` tokens are added to every text by the model."""

    max_tokens: int
    overlap_tokens: int
    special: int = 0
    by: str = STRUCTURE
    """One of `WAYS`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A span of a document's text (half-open, in code points), and the text that is embedded for it.

    The embedded text is the context (title and enclosing headings, possibly empty) followed by the span. `header` is
    the span of the table header or list introduction, if the chunk starts inside that table or list.
    """

    ordinal: int
    start: int
    end: int
    embedded: str
    context: str
    header: tuple[int, int] | None = None
    lead: str | None = None
    """The white space between the chunk before and this one, "" where they touch; None where other text is between."""

    def text(self, document: str) -> str:
        """Return the passage's text: the span, preceded by its header."""
        return _below_header(document, self.header, document[self.start : self.end])


@dataclass(frozen=True, slots=True)
class _Piece:
    start: int
    end: int
    path: tuple[str, ...]
    heading: bool
    header: tuple[int, int] | None = None
    row: bool = False
    left_out: bool = False


def chunk(  # noqa: PLR0913 - keyword-only
    text: str, *, media_type: str, title: str, tokenize: Tokenize, cut: Cut, without: Sequence[Span] = ()
) -> list[Chunk]:
    """Split a text into chunks of at most `cut.max_tokens` tokens, including title, headings and special tokens.

    By structure: a block that fits is never split. Small adjacent blocks are merged, and a heading stays with the next
    block. Larger blocks are split at sentence ends, else at line ends, else between tokens; consecutive chunks overlap
    by up to `cut.overlap_tokens`. A chunk that starts inside a table or list repeats its header. By rows: the same, and
    each row of a table is a chunk. By sentence: as many whole sentences as fit, across blocks. By window: as many
    tokens as fit. Both have the headings of where they start, and overlap.

    Paragraphs and items of lists that are inside of the spans `without` are left out, and no chunk goes across them.

    Long tokens count as several, which bounds characters as well. An empty text has no chunks.
    """
    chunks: list[Chunk] = []
    for start, end, prefix, header in _Chunker(text, title, tokenize, cut, without).spans(media_type):
        chunks.append(
            Chunk(
                ordinal=len(chunks),
                start=start,
                end=end,
                embedded=prefix + _below_header(text, header, text[start:end]),
                context=prefix.rstrip("\n"),
                header=header,
                lead=_lead(text[chunks[-1].end : start]) if chunks else None,
            )
        )
    return chunks


def known_chunks(  # noqa: PLR0913 - keyword-only
    text: str,
    *,
    media_type: str,
    title: str,
    cut: Cut,
    tokenize: Tokenize,
    known_share: Callable[[str], float],
    without: Sequence[Span] = (),
) -> tuple[list[Chunk], int]:
    """Return the searchable passages, and the number omitted because the vocabulary does not cover them."""
    found = chunk(text, media_type=media_type, title=title, tokenize=tokenize, cut=cut, without=without)
    known = [each for each in found if known_share(text[each.start : each.end]) >= MIN_KNOWN]
    kept = {each.ordinal for each in known}
    return [
        replace(each, ordinal=ordinal, lead=each.lead if each.ordinal - 1 in kept else None)
        for ordinal, each in enumerate(known)
    ], len(found) - len(known)


def _lead(between: str) -> str | None:
    return None if between.strip() or len(between) > _MAX_LEAD else between


def _below_header(text: str, header: tuple[int, int] | None, span: str) -> str:
    return f"{text[header[0] : header[1]]}\n{span}" if header else span


class _Chunker:
    def __init__(self, text: str, title: str, tokenize: Tokenize, cut: Cut, without: Sequence[Span]) -> None:
        self._text = text
        self._without = without
        self._ends_without = [span.end for span in without]
        self._title = " ".join(title.split())
        self._tokenize = tokenize
        self._cut = cut
        tokens = tokenize(text)
        self._starts = [start for start, _ in _measured(text, tokens)] if tokens else []
        self._prefixes: dict[tuple[str, ...], tuple[str, int]] = {}

    def spans(self, media_type: str) -> Iterator[tuple[int, int, str, tuple[int, int] | None]]:
        blocks = blocks_of(self._text, media_type)
        if self._cut.by in _STREAMS:
            yield from self._stream(blocks)
            return
        pieces: list[_Piece] = []
        for piece in (piece for block in blocks for piece in self._pieces(block)):
            if piece.left_out:
                yield from self._close([] if all(each.heading for each in pieces) else pieces)
                pieces = []
                continue
            if pieces and self._count(pieces[0].start, piece.end) > self._space(pieces[0].path, pieces[0].header):
                closed, pieces = _keep_heading_with_next(pieces)
                yield from self._close(closed)
            elif piece.row:
                closed, pieces = _keep_heading_with_next(pieces, least=0)
                yield from self._close(closed)
            pieces.append(piece)
            if piece.row:
                yield from self._close(pieces)
                pieces = []
        yield from self._close(pieces)

    def _stream(self, blocks: Sequence[Block]) -> Iterator[tuple[int, int, str, tuple[int, int] | None]]:
        leaves = [leaf for block in blocks for leaf in block.leaves()]
        begins = [leaf.start for leaf in leaves]
        whole = Block(start=0, end=len(self._text.rstrip()))

        def path_at(start: int) -> tuple[str, ...]:
            return leaves[max(0, bisect_right(begins, start) - 1)].path if leaves else ()

        for part in self._kept(whole) if self._starts else ():
            for start, end in self._windows(part, _STREAMS[self._cut.by], lambda at: self._space(path_at(at))):
                yield start, end, self._prefix(path_at(start))[0], None

    def _kept(self, whole: Block) -> Iterator[Block]:
        """Yield the parts of a text between the spans that are left out."""
        start = whole.start
        for span in (*self._without, Span(start=whole.end, end=whole.end)):
            part = Block(start=start, end=start + len(self._text[start : span.start].rstrip()))
            if self._count(part.start, part.end):
                yield part
            start = span.end

    def _covered(self, block: Block) -> bool | None:
        """Return whether a block is left out; None where a part of it is."""
        place = bisect_right(self._ends_without, block.start)
        if place == len(self._without) or self._without[place].start >= block.end:
            return False
        return True if self._without[place].start <= block.start and block.end <= self._without[place].end else None

    def _close(self, pieces: Sequence[_Piece]) -> Iterator[tuple[int, int, str, tuple[int, int] | None]]:
        if pieces and self._starts and self._text[pieces[0].start : pieces[-1].end].strip():
            first = pieces[0]
            header = first.header if self._header(first.path, first.header) else None
            yield first.start, pieces[-1].end, self._prefix(first.path)[0], header

    def _pieces(self, block: Block) -> Iterator[_Piece]:
        """Yield a block whole if it fits, else its parts, else windows of it."""
        covered = self._covered(block)
        if covered:
            yield _Piece(block.start, block.end, block.path, block.heading, left_out=True)
            return
        if covered is None and block.parts:
            for part in block.parts:
                yield from self._pieces(part)
            return
        has_rows = self._cut.by == ROWS and block.has_rows
        fits = self._count(block.start, block.end) <= self._space(block.path, block.header)
        if fits and not (has_rows and block.parts):
            yield _Piece(block.start, block.end, block.path, block.heading, block.header, row=has_rows)
        elif block.parts:
            for part in block.parts:
                yield from self._pieces(part)
        else:
            space = self._space(block.path, block.header)
            for start, end in self._windows(block, (_SENTENCE_END, _LINE_END), lambda _: space):
                yield _Piece(start, end, block.path, heading=False, header=block.header, row=has_rows)

    def _windows(
        self, block: Block, patterns: Sequence[re.Pattern[str]], space_at: Callable[[int], int]
    ) -> Iterator[tuple[int, int]]:
        """Split a block that is too large, at best behind what a pattern finds; consecutive windows overlap.

        `space_at` returns how many tokens a window may have that starts at an offset.
        """
        first, last = bisect_left(self._starts, block.start), bisect_left(self._starts, block.end)
        ends = [self._ends(block, pattern) for pattern in patterns]
        while last - first > (space := space_at(self._starts[first])):
            end = _last_in(ends, first + space // 2, first + space) or first + space
            yield self._starts[first], self._starts[end]
            overlap = min(self._cut.overlap_tokens, (end - first) // 2)
            first = _first_in(ends, end - overlap, end) or end - overlap
        yield self._starts[first], block.end

    def _ends(self, block: Block, pattern: re.Pattern[str]) -> list[int]:
        """Return the positions of tokens that start a sentence or line."""
        ends = (match.end() for match in pattern.finditer(self._text, block.start, block.end))
        return sorted({bisect_left(self._starts, end) for end in ends})

    def _count(self, start: int, end: int) -> int:
        return bisect_left(self._starts, end) - bisect_left(self._starts, start)

    def _space(self, path: tuple[str, ...], header: tuple[int, int] | None = None) -> int:
        """Return the tokens left for a chunk's own text below these headings and this header."""
        return max(_MIN_BODY, self._below_headings(path) - self._header(path, header))

    def _below_headings(self, path: tuple[str, ...]) -> int:
        return self._cut.max_tokens - self._cut.special - self._prefix(path)[1]

    def _header(self, path: tuple[str, ...], header: tuple[int, int] | None) -> int:
        """Return the tokens of a header; 0 if it would take more than half of the space and is omitted."""
        tokens = self._count(*header) if header else 0
        return tokens if tokens <= self._below_headings(path) // 2 else 0

    def _prefix(self, path: tuple[str, ...]) -> tuple[str, int]:
        """Return title and headings as prepended to the text, at most half of all tokens, and their token count."""
        if path not in self._prefixes:
            words = " > ".join(dict.fromkeys(part for part in (self._title, *path) if part))
            tokens = _measured(words, self._tokenize(words))
            maximum = min(len(tokens), self._cut.max_tokens // 2)
            shown = words[: tokens[maximum - 1][1]] + "\n" if maximum else ""
            self._prefixes[path] = (shown, maximum)
        return self._prefixes[path]


def _measured(text: str, tokens: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the token spans, with long tokens and long gaps between tokens split into several."""
    parts: list[tuple[int, int]] = []
    end = 0
    for start, stop in tokens:
        parts += ((place, place) for place in range(end + _MAX_BETWEEN, start, _MAX_BETWEEN))
        place = start
        while stop - place > _MAX_CHARACTERS:
            cut = _between_letters(text, place + _MAX_CHARACTERS, stop)
            parts.append((place, cut))
            place = cut
        parts.append((place, stop))
        end = stop
    parts += ((place, place) for place in range(end + _MAX_BETWEEN, len(text), _MAX_BETWEEN))
    return parts


def _between_letters(text: str, place: int, stop: int) -> int:
    """Return the next offset that does not separate a combining mark or joiner from its base character."""
    for further in range(place, min(place + _JOINED_WITHIN, stop)):
        if unicodedata.category(text[further])[0] != "M" and "\u200d" not in text[further - 1 : further + 1]:
            return further
    return place


def _keep_heading_with_next(pieces: list[_Piece], *, least: int = 1) -> tuple[list[_Piece], list[_Piece]]:
    """Split off trailing headings, which belong to the next chunk, but for the `least` first pieces."""
    end = len(pieces)
    while end > least and pieces[end - 1].heading:
        end -= 1
    return pieces[:end], pieces[end:]


def _last_in(kinds: Iterable[Sequence[int]], low: int, high: int) -> int:
    """Return the last offset in (low, high] of the first sequence that has one; else 0."""
    for places in kinds:
        position = bisect_left(places, high + 1)
        if position and places[position - 1] > low:
            return places[position - 1]
    return 0


def _first_in(kinds: Iterable[Sequence[int]], low: int, high: int) -> int:
    """Return the first offset in [low, high) of the first sequence that has one; else 0."""
    for places in kinds:
        position = bisect_left(places, low)
        if position < len(places) and places[position] < high:
            return places[position]
    return 0
