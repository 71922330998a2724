"""Places of a document that people name: a page, a slide, a sheet, a row."""

from dataclasses import dataclass
from enum import Enum


class AnchorKind(Enum):
    """What a place is; each kind is counted from 1."""

    PAGE = "page"
    SLIDE = "slide"
    SHEET = "sheet"
    ROW = "row"
    CHAPTER = "chapter"
    RECORD = "record"


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """Where a place begins in the text, in code points; it ends where the next one of its kind does.

    `name` is what the document itself calls it, such as a sheet's name; "" where it has none.
    """

    start: int
    kind: AnchorKind
    number: int
    name: str = ""
