"""HTML becomes Markdown: the page's text and structure, without its machinery."""

import re
from html.parser import HTMLParser
from importlib.metadata import version

from html_to_markdown import ConversionOptions, PreprocessingOptions, WarningKind
from html_to_markdown import convert as converted_html

from tidemill_ingest.limits import ConversionLimits
from tidemill_ingest.parsing import refusals
from tidemill_ingest.parsing.converted import Converted, unmarked
from tidemill_ingest.parsing.data_uris import without_data_uris
from tidemill_ingest.parsing.plain import decoded
from tidemill_ingest.parsing.superscripts import with_marks, written_flat
from tidemill_ingest.parsing.tables import with_merged_cells, with_written_spans

EXTRACTION = f"extract html-to-markdown {version('html-to-markdown')}"
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


def convert(content: bytes, media_type: str, limits: ConversionLimits) -> Converted:  # noqa: ARG001 - one port for all
    """Return the Markdown of a page.

    Raises:
        DocumentRefused: the bytes are no text, or its markup is nested too deep.

    """
    page, step = decoded(content)
    page = unmarked(page)
    return Converted(text=markdown_of(page), title=title_of(page), steps=(step, EXTRACTION))


def markdown_of(html: str) -> str:
    """Return the Markdown of a page that is decoded."""
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
    result = converted_html(with_marks(with_written_spans(html)), options)
    if any(warning.kind in _CONTENT_LOST for warning in result.warnings):
        description = "has markup that is nested too deep to be read whole; simplify it, or send its text as text/plain"
        raise refusals.too_complex(what=description)
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


def title_of(html: str) -> str:
    """Return the title that a page's head names, "" without one."""
    parser = _Title()
    parser.feed(html[:_TITLE_WITHIN])
    return "".join(parser.parts).strip() if parser.done else ""
