"""What every converter returns: text with marks where places begin, which cleaning moves with what is around them."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tidemill_ingest.anchors import Anchor, AnchorKind
from tidemill_ingest.errors import DocumentRefused

_OPEN, _CLOSE = "\ufdd5", "\ufdd6"
"""Enclose a mark's number; noncharacters, which no text has (Unicode, 23.7)."""
_MARK = re.compile(f"{_OPEN}([0-9]{{1,9}}){_CLOSE}")
_BEGINS_BLOCK = re.compile(r"[ \t]*(?:(?:#{1,6}|[-*+>|]|[0-9]{1,9}[.)])[ \t]+)+")
"""What Markdown has before the text of a heading, an item, a quotation or a row (CommonMark 0.31, 4 and 5)."""
_LONGEST_BEGINNING = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place without its start: the mark with its index says where it begins."""

    kind: AnchorKind
    number: int
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A file inside of the file, as it is called there. `read` is called at once or never: an archive may be a stream.

    `refused` says why it cannot be taken, where that is known before it is read.
    """

    path: str
    size: int
    read: Callable[[], bytes]
    media_type: str = ""
    """What the file says that it is; "" where it does not."""
    refused: DocumentRefused | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """The text of a file, not cleaned yet; its title, "" where it names none; what was done to get it."""

    text: str
    media_type: str = "text/markdown"
    title: str = ""
    places: Sequence[Place] = ()
    steps: tuple[str, ...] = ()
    entries: Sequence[Entry] = ()
    """Files inside that become documents of their own; here they are not read any more."""


@dataclass(slots=True)
class Places:
    """Collects the places of a text while it is made."""

    found: list[Place] = field(default_factory=list)

    def mark(self, kind: AnchorKind, number: int, name: str = "") -> str:
        """Return what to write into the text where the place begins."""
        self.found.append(Place(kind=kind, number=number, name=name))
        return f"{_OPEN}{len(self.found) - 1}{_CLOSE}"


def unmarked(text: str) -> str:
    """Return a text of a file without what would be a mark."""
    return text.replace(_OPEN, "").replace(_CLOSE, "")


def whole(text: str) -> str:
    """Return a text with halves of characters joined (UTF-16, RFC 2781); half a character alone is none."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def anchored(text: str, places: Sequence[Place]) -> tuple[str, tuple[Anchor, ...]]:
    """Return the text without its marks, and the anchors that stood there, in order.

    A mark that conversion lost gives no anchor; of one that it repeated, as in merged cells, the first counts. A place
    that begins with the text of a heading or an item begins with its markup.
    """
    if not places:
        return text, ()
    parts, anchors, seen, length, end = list[str](), list[Anchor](), set[int](), 0, 0
    for mark in _MARK.finditer(text):
        parts.append(text[end : mark.start()])
        length += mark.start() - end
        end = mark.end()
        index = int(mark[1])
        if index < len(places) and index not in seen:
            seen.add(index)
            place = places[index]
            start = length - _markup_before(text, mark.start())
            anchors.append(Anchor(start=start, kind=place.kind, number=place.number, name=place.name))
    parts.append(text[end:])
    return unmarked("".join(parts)), tuple(anchors)


def _markup_before(text: str, end: int) -> int:
    """Return how many characters of a line are before `end`, marks aside, if they are markup alone; else 0."""
    begin = text.rfind("\n", max(0, end - _LONGEST_BEGINNING), end) + 1
    if not begin and end > _LONGEST_BEGINNING:
        return 0
    before = _MARK.sub("", text[begin:end])
    return len(before) if _BEGINS_BLOCK.fullmatch(before) else 0
