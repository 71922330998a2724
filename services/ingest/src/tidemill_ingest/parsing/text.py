"""From bytes to clean text with a title: plain text and Markdown stay what they are, HTML becomes Markdown."""

import re
from dataclasses import dataclass
from html.parser import HTMLParser
from importlib.metadata import version
from itertools import pairwise

from html_to_markdown import ConversionOptions, PreprocessingOptions, WarningKind, convert
from markdown_it import MarkdownIt

from tidemill_core.characters import clean, clean_line
from tidemill_ingest.errors import DocumentRefused
from tidemill_ingest.limits import MEBIBYTE
from tidemill_ingest.parsing import front_matter
from tidemill_ingest.parsing.data_uris import without_data_uris
from tidemill_ingest.parsing.superscripts import with_marks, written_flat
from tidemill_ingest.parsing.tables import with_merged_cells, with_written_spans

CLEANING_VERSION = 3
"""Counted up when the same bytes would become another text."""

_EXTRACTION = f"extract html-to-markdown {version('html-to-markdown')}"
_MAX_GROWTH_BYTES = 2 * MEBIBYTE
"""Indentation of lists in lists can grow without bounds."""
_TITLE_WITHIN = 32_768
"""A title is searched for in so many characters from the start."""
_BLANK_LINES = re.compile(r"\n{4,}")
_NOT_CONTENT = "script style noscript template svg iframe object head nav"
"""What is never part of a page's text. Forms, what is in them, and headers may hold the page, its title, questions."""
_ELEMENT_WITH_WORDS = re.compile(r"(?i)<(input|img)\b((?:[^<>\"']|\"[^\"]{0,1000}\"|'[^']{0,1000}'){0,1000})>")
_ATTRIBUTE = re.compile(r"(?i)(?<![\w-])(type|value|alt)\s{0,3}=\s{0,3}(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'<>]+))")
_BUTTONS = frozenset(("submit", "button", "reset"))
_HEAD = frozenset(("html", "head", "title", "meta", "link", "base", "script", "style", "noscript", "template"))
_CONTENT_LOST = (WarningKind.DEPTH_LIMIT_EXCEEDED, WarningKind.TRUNCATED_INPUT)
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True, kw_only=True)
class Extracted:
    """Clean text, not masked yet; `title` is "" where the document has none."""

    media_type: str
    text: str
    title: str
    steps: tuple[str, ...]


def extract(content: bytes, media_type: str) -> Extracted:
    """Return the text of a document.

    Raises:
        DocumentRefused: the bytes are no UTF-8 text, or hold no text at all.

    """
    text, steps = _decoded(content), ["decode utf-8"]
    title = ""
    if media_type == "text/html":
        title, text = _html_title(text), _markdown(text)
        steps.append(_EXTRACTION)
        media_type = "text/markdown"
    text = clean(without_data_uris(text))
    if media_type == "text/markdown" and not title:
        title, text = front_matter.split(text)
    steps.append(f"clean {CLEANING_VERSION}")
    if len(text.encode()) > len(content) + _MAX_GROWTH_BYTES:
        description = "has markup whose text is far larger than itself; simplify it, or send its text as text/plain"
        raise DocumentRefused(reason="DOCUMENT_TOO_COMPLEX", field="content", description=description)
    if not text.strip():
        description = "holds no text: send a document with at least one visible character"
        raise DocumentRefused(reason="EMPTY_DOCUMENT", field="content", description=description)
    if not title and media_type == "text/markdown":
        title = _first_heading(text)
    return Extracted(media_type=media_type, text=text, title=clean_line(title), steps=tuple(steps))


def _decoded(content: bytes) -> str:
    if content.startswith(_UTF16_MARKS):
        description = "is UTF-16; send it as UTF-8"
        raise DocumentRefused(reason="NOT_TEXT", field="content", description=description)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        description = f"is not UTF-8 text (the byte at {error.start}); send text encoded as UTF-8"
        raise DocumentRefused(reason="NOT_TEXT", field="content", description=description) from None
    if (place := text.find("\x00")) >= 0:
        description = f"is not text (a NUL at character {place}); send text, not a binary file"
        raise DocumentRefused(reason="NOT_TEXT", field="content", description=description)
    return text


def _markdown(html: str) -> str:
    options = ConversionOptions(
        bullets="-",
        compact_tables=True,
        exclude_selectors=_NOT_CONTENT.split(),
        extract_metadata=False,
        include_document_structure=True,
        preprocessing=PreprocessingOptions(enabled=False),
        skip_images=True,
    )
    html = _ELEMENT_WITH_WORDS.sub(_words, without_data_uris(html))
    result = convert(with_marks(with_written_spans(html)), options)
    if any(warning.kind in _CONTENT_LOST for warning in result.warnings):
        description = "has markup that is nested too deep to be read whole; simplify it, or send its text as text/plain"
        raise DocumentRefused(reason="DOCUMENT_TOO_COMPLEX", field="content", description=description)
    text = with_merged_cells(result)
    return _BLANK_LINES.sub("\n\n\n", written_flat(text))


def _words(element: re.Match[str]) -> str:
    """Return the words that a picture or a button of a form is shown with, as they stand in the page."""
    found = {name.lower(): "".join(values) for name, *values in _ATTRIBUTE.findall(element[2])}
    if element[1].lower() == "img":
        return found.get("alt", "")
    return found.get("value", "") if found.get("type", "").lower() in _BUTTONS else ""


class _Title(HTMLParser):
    """Takes the text of the head's <title>: pictures have titles too, and a page may leave the head's tags out."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.inside = self.done = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 - HTMLParser's
        """Begin with the first one; the first element of the page itself ends the head."""
        self.inside = self.inside or (tag == "title" and not self.done)
        self.done = self.done or tag not in _HEAD

    def handle_endtag(self, tag: str) -> None:
        """End with it."""
        if tag == "title" and self.inside:
            self.inside, self.done = False, True

    def handle_data(self, data: str) -> None:
        """Take what is in it."""
        if self.inside:
            self.parts.append(data)


def _html_title(html: str) -> str:
    parser = _Title()
    parser.feed(html[:_TITLE_WITHIN])
    return "".join(parser.parts).strip() if parser.done else ""


def _first_heading(markdown: str) -> str:
    """Return the text of the first heading; a comment in a code block is none."""
    tokens = MarkdownIt().parse(markdown[:_TITLE_WITHIN])
    for token, following in pairwise(tokens):
        if token.type == "heading_open":
            parts = (child.content for child in following.children or [] if child.type in ("text", "code_inline"))
            return "".join(parts)
    return ""
