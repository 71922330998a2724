"""Word documents become Markdown by way of HTML: headings, lists, tables, footnotes, and Word's pages."""

import io
import re
import zipfile
from importlib.metadata import version

import mammoth

from tidemill_ingest.anchors import AnchorKind
from tidemill_ingest.limits import ConversionLimits
from tidemill_ingest.parsing import refusals
from tidemill_ingest.parsing.containers import Container
from tidemill_ingest.parsing.converted import Converted, Places
from tidemill_ingest.parsing.html import EXTRACTION, markdown_of
from tidemill_ingest.parsing.office import opened_office, steps_of, title_of

_STEP = f"convert docx mammoth {version('mammoth')}"
_READ = re.compile(r"(?:.*\.rels|\[Content_Types\]\.xml|.*/(?:document|styles|numbering|footnotes|endnotes)\d*\.xml)")
"""The parts with text; pictures, macros, embedded files and everything external stay where they are."""
_LAID_OUT = re.compile(rb"<w:lastRenderedPageBreak\s*/>")
_WRITTEN = re.compile(rb"<w:br\s[^<>]{0,100}?w:type=\"page\"[^<>]{0,100}/>")
_STYLES = """
p[style-name='Title'] => h1:fresh
p[style-name='Subtitle'] => p:fresh
"""


def convert(content: bytes, media_type: str, limits: ConversionLimits) -> Converted:  # noqa: ARG001 - one port for all
    """Return the text of a Word document; it has anchors for pages where Word has written where they break.

    Raises:
        DocumentRefused: it is none, damaged, encrypted, or not within the limits.

    """
    container, main = opened_office(content, limits, program="word")
    places = Places()
    first = places.mark(AnchorKind.PAGE, 1)
    text = markdown_of(_html(_text_parts(container, main, places, limits))).strip()
    if len(places.found) == 1:  # no page breaks: nothing is known of pages
        first, places = "", Places()
    steps = (_STEP, EXTRACTION, *steps_of(container))
    return Converted(text=first + text, title=title_of(container), places=places.found, steps=steps)


def _html(file: io.BytesIO) -> str:
    result = mammoth.convert_to_html(
        file,
        style_map=_STYLES,
        include_embedded_style_map=False,
        external_file_access=False,
        convert_image=mammoth.images.img_element(lambda _: {}),
    )
    return str(result.value)


def _text_parts(container: Container, main: str, places: Places, limits: ConversionLimits) -> io.BytesIO:
    """Return a document of the parts with text alone, with a mark where each page begins."""
    file = io.BytesIO()
    total = 0
    with zipfile.ZipFile(file, "w") as archive:
        for name in sorted(name for name in container.names if name == main or _READ.fullmatch(name)):
            data = unmarked_bytes(container.xml(name))
            total += len(data)
            if total > limits.part_bytes:
                raise refusals.too_complex(what=f"has more than {limits.part_bytes} bytes of XML: split it")
            archive.writestr(name, _with_pages(data, places, limits) if name == main else data)
    file.seek(0)
    return file


def _with_pages(data: bytes, places: Places, limits: ConversionLimits) -> bytes:
    breaks = _LAID_OUT if _LAID_OUT.search(data) else _WRITTEN

    def mark(_: re.Match[bytes]) -> bytes:
        if len(places.found) >= limits.pages:
            raise refusals.too_complex(what=f"has more than {limits.pages} pages: split it")
        return f"<w:t>{places.mark(AnchorKind.PAGE, len(places.found) + 1)}</w:t>".encode()

    return breaks.sub(mark, data)


def unmarked_bytes(data: bytes) -> bytes:
    """Return a part in UTF-8 without what would be a mark."""
    return data.replace(b"\xef\xb7\x95", b"").replace(b"\xef\xb7\x96", b"")
