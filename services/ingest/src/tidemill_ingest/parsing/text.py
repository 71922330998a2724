"""From bytes to clean text with a title and anchors: each format has a converter, what follows is the same for all."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from itertools import pairwise
from typing import Protocol, cast

from markdown_it import MarkdownIt

from tidemill_core.characters import clean, clean_line
from tidemill_ingest.anchors import Anchor
from tidemill_ingest.formats import FORMATS
from tidemill_ingest.limits import MEBIBYTE, ConversionLimits
from tidemill_ingest.parsing import front_matter, refusals
from tidemill_ingest.parsing.converted import Converted, Entry, anchored, whole
from tidemill_ingest.parsing.data_uris import without_data_uris

CLEANING_VERSION = 3
"""Counted up when the same bytes would become another text."""

_MAX_GROWTH_BYTES = 2 * MEBIBYTE
"""Indentation of lists in lists can grow without bounds."""
_TITLE_WITHIN = 32_768
"""A title is searched for in so many characters from the start."""


class Converter(Protocol):
    """A module of this package that reads one format."""

    def convert(self, content: bytes, media_type: str, limits: ConversionLimits) -> Converted:
        """Return the text of a file.

        Raises:
            DocumentRefused: it is not what the media type says, damaged, protected, or exceeds the limits.

        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Extracted:
    """Clean text, not masked yet; `title` is "" where the document has none."""

    media_type: str
    text: str
    title: str
    steps: tuple[str, ...]
    anchors: tuple[Anchor, ...] = ()
    entries: Sequence[Entry] = ()
    """Files inside that become documents of their own."""


def extract(content: bytes, media_type: str, limits: ConversionLimits | None = None) -> Extracted:
    """Return the text of a document.

    Raises:
        DocumentRefused: the bytes are not of the media type, exceed the limits, or hold no text at all.

    """
    limits = limits or ConversionLimits()
    converted = _converted(content, media_type, limits)
    text, title, media_type = clean(without_data_uris(converted.text)), converted.title, converted.media_type
    if media_type == "text/markdown" and not title:
        title, text = front_matter.split(text)
    text, anchors = anchored(text, converted.places)
    if not text.strip():
        raise refusals.empty()
    if not title and media_type == "text/markdown":
        title = _first_heading(text)
    return Extracted(
        media_type=media_type,
        text=text,
        title=clean_line(title),
        steps=(*converted.steps, f"clean {CLEANING_VERSION}"),
        anchors=anchors,
        entries=converted.entries,
    )


def _converted(content: bytes, media_type: str, limits: ConversionLimits) -> Converted:
    known = FORMATS[media_type]
    # Each process imports only what its documents need.
    converter = cast("Converter", import_module(f"tidemill_ingest.parsing.{known.converter}"))
    with refusals.reading(known.name):
        converted = converter.convert(content, media_type, limits)
    converted = replace(converted, text=whole(converted.text), title=whole(converted.title))
    size = len(converted.text.encode())
    if known.text and size > len(content) + _MAX_GROWTH_BYTES:
        description = "has markup whose text is far larger than itself; simplify it, or send its text as text/plain"
        raise refusals.too_complex(what=description)
    if size > limits.text_bytes:
        raise refusals.too_complex(what=f"has {size} bytes of text, and {limits.text_bytes} is the limit: split it")
    return converted


def _first_heading(markdown: str) -> str:
    """Return the text of the first heading; a comment in a code block is none."""
    tokens = MarkdownIt().parse(markdown[:_TITLE_WITHIN])
    for token, following in pairwise(tokens):
        if token.type == "heading_open":
            parts = (child.content for child in following.children or [] if child.type in ("text", "code_inline"))
            return "".join(parts)
    return ""
