"""Parses a text into nested blocks: sections, paragraphs, lists, tables and code, each a span of the text."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode


@dataclass(slots=True, kw_only=True)
class Block:
    """A span of the text (half-open, in code points), and its child blocks.

    `path` are the enclosing headings, outermost first, without its own.
    """

    start: int
    end: int
    path: tuple[str, ...] = ()
    heading: bool = False
    header: tuple[int, int] | None = None
    """The span of its header: a table's header row, the parent list item, or the sentence that introduces a list."""
    parts: list["Block"] = field(default_factory=list)
    row: bool = False
    """A row of a table, below its header."""

    @property
    def has_rows(self) -> bool:
        """Return whether it has rows of tables, or is one."""
        return self.row or any(part.has_rows for part in self.parts)

    def leaves(self) -> Iterator["Block"]:
        """Yield the blocks without parts, in order."""
        for part in self.parts:
            yield from part.leaves()
        if not self.parts:
            yield self


@dataclass(frozen=True, slots=True, kw_only=True)
class _Heading:
    """A heading; level 1 is the outermost."""

    block: Block
    level: int
    title: str


_MARKDOWN = MarkdownIt("commonmark").enable("table").disable("inline")
"""Without inline parsing, which is not needed and takes most of the time."""
_LINE_END = re.compile(r"\r\n?|\n")
_LISTS = frozenset(("bullet_list", "ordered_list"))
_MAX_INTRODUCTION = 300
"""Characters of a paragraph or item that is used as a header."""
_SEPARATORS = "\t;|,"
_QUOTED = re.compile(r'"[^"\n]*"')
_COLUMN = re.compile(r"[^\W\d_][^{}<>]*")
_MIN_LINES, _MIN_ALIKE = 4, 0.9
_PARAGRAPH = re.compile(r"[^\s](?:.*(?:\r\n?|\n)(?=.*\S))*.*")


def blocks_of(text: str, media_type: str) -> list[Block]:
    """Return the top-level blocks of a text in order: sections, and blocks before the first heading."""
    if media_type == "text/markdown":
        return _sections(_markdown(text))
    return [_delimited(text, found.start(), found.end()) for found in _PARAGRAPH.finditer(text)]


def _delimited(text: str, start: int, end: int) -> Block:
    """Return a paragraph; if its lines are delimiter-separated values, they are rows with the first line as header."""
    block = Block(start=start, end=end)
    places = [start, *(found.end() for found in _LINE_END.finditer(text, start, end)), end]
    lines = [
        Block(start=one, end=one + len(text[one:other].rstrip())) for one, other in pairwise(places) if one < other
    ]
    if len(lines) >= _MIN_LINES and _has_columns([_QUOTED.sub("", text[each.start : each.end]) for each in lines]):
        lines[0].heading = True
        for line in lines[1:]:
            line.header, line.row = (lines[0].start, lines[0].end), True
        block.parts = lines
    return block


def _has_columns(lines: Sequence[str]) -> bool:
    """Return whether the first line names columns, and nearly all other lines have the same number of fields."""
    for separator in _SEPARATORS:
        names = lines[0].split(separator)
        if len(names) > 1 and all(not name.strip() or _COLUMN.fullmatch(name.strip()) for name in names):
            return sum(line.count(separator) == len(names) - 1 for line in lines) >= _MIN_ALIKE * len(lines)
    return False


def _markdown(text: str) -> list[Block | _Heading]:
    """Parse CommonMark with tables. The parser returns line numbers, which are converted to spans."""
    lines = [0, *(found.end() for found in _LINE_END.finditer(text)), len(text)]
    leaves: list[Block | _Heading] = []
    before: Block | None = None
    for node in SyntaxTreeNode(_MARKDOWN.parse(text)).children:
        block = _block(node, text, lines)
        if block and before and node.type in _LISTS and text[before.start : before.end].endswith(":"):
            _introduce(before, block)
        before = block if block and node.type == "paragraph" else None
        if block and node.type == "heading":
            title = node.children[0].content if node.children else ""
            leaves.append(_Heading(block=block, level=int(node.tag[1:]), title=title))
        elif block:
            leaves.append(block)
    return leaves


def _block(node: SyntaxTreeNode, text: str, lines: Sequence[int]) -> Block | None:
    if node.map is None or node.type == "inline":
        return None
    start, end = lines[node.map[0]], lines[min(node.map[1], len(lines) - 1)]
    parts = [part for child in node.children if (part := _block(child, text, lines))]
    block = Block(start=start, end=start + len(text[start:end].rstrip()), parts=parts)
    if node.type == "list_item":
        for below in (part for part, child in zip(parts[1:], node.children[1:], strict=False) if child.type in _LISTS):
            _introduce(parts[0], below)
    return _table(block) if node.type == "table" else block


def _introduce(above: Block, below: Block) -> None:
    """Keep a short text with the list that it introduces, and make it the header of the list's parts."""
    if above.end - above.start <= _MAX_INTRODUCTION:
        above.heading = True
        _set_header(below, (above.start, above.end))


def _set_header(block: Block, header: tuple[int, int]) -> None:
    block.header = block.header or header
    for part in block.parts:
        if part.header is None:
            _set_header(part, header)


def _table(block: Block) -> Block:
    """Return a table whose rows refer to its header row; the header row is kept with the next row, like a heading."""
    if len(block.parts) > 1:
        head, *bodies = block.parts
        rows = [row for body in bodies for row in body.parts or [body]]
        end = max(head.end, rows[0].start - 1)
        for row in rows:
            row.header, row.row = (head.start, end), True
        block.parts = [Block(start=head.start, end=end, heading=True), *rows]
    return block


def _sections(leaves: Sequence[Block | _Heading]) -> list[Block]:
    """Nest blocks under their headings: a section ends at the next heading of the same or an outer level."""
    outermost: list[Block] = []
    open_sections: list[tuple[_Heading, Block]] = []
    for leaf in leaves:
        if isinstance(leaf, _Heading):
            while open_sections and open_sections[-1][0].level >= leaf.level:
                open_sections.pop()
        siblings = open_sections[-1][1].parts if open_sections else outermost
        path = tuple(heading.title for heading, _ in open_sections)
        if isinstance(leaf, _Heading):
            opening = Block(start=leaf.block.start, end=leaf.block.end, path=path, heading=True)
            section = Block(start=opening.start, end=opening.end, path=path, parts=[opening])
            siblings.append(section)
            open_sections.append((leaf, section))
        else:
            _set_path(leaf, path)
            siblings.append(leaf)
        for _, section in open_sections:
            section.end = (leaf.block if isinstance(leaf, _Heading) else leaf).end
    return outermost


def _set_path(block: Block, path: tuple[str, ...]) -> None:
    block.path = path
    for part in block.parts:
        _set_path(part, path)
