"""PDF becomes Markdown: pages in reading order, with the headings that its outline or its larger letters name."""

import ctypes
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from itertools import pairwise

import pypdfium2
import pypdfium2.raw as pdfium

from tidemill_ingest.anchors import AnchorKind
from tidemill_ingest.limits import ConversionLimits
from tidemill_ingest.parsing import ocr, refusals
from tidemill_ingest.parsing.converted import Converted, Places, unmarked, whole
from tidemill_ingest.parsing.signatures import require_pdf

_STEP = f"convert pdf pypdfium2 {version('pypdfium2')}"
_HYPHENS = ("\x02", "\ufffe")
"""What PDFium writes where a word is divided at the end of a line."""
_LARGER = 1.12
"""So many times the size of the text is a heading's."""
_MAX_HEADING = 150
_MAX_LEVELS = 3
_PARAGRAPH_GAP = 1.45
"""So many times the usual distance between lines ends a paragraph."""
_MAX_OUTLINE = 2000
_OUTLINE_DEPTH = 6
_MARKUP = re.compile(r"#{1,6}[ \t]|[=-]{2,}[ \t]*\Z|`{3}|~{3}|>|\+[ \t]")
"""What would begin a block of Markdown, and stands in a PDF as it is read; bullets and numbers may do so."""
_BULLET = re.compile(r"[\u2022\u2023\u25aa\u25cf\u25e6\u2043\u2219\uf0b7\uf0a7][ \t]*")
_SENTENCE = re.compile(r"[.,;:]\Z")
_JUNK_TITLE = re.compile(
    r"(?i)\A(?:microsoft (?:word|powerpoint|excel)\b.*|untitled.*|.*\.(?:docx?|pptx?|xlsx?|indd|tex|dvi))\Z"
)


@dataclass(frozen=True, slots=True)
class _Line:
    text: str
    size: float
    """The height of its letters, 0 where they differ."""
    bottom: float


def convert(content: bytes, media_type: str, limits: ConversionLimits) -> Converted:  # noqa: ARG001 - one port for all
    """Return the text of a PDF, with an anchor for each page that has text.

    Scripts, forms, annotations and embedded files are not read.

    Raises:
        DocumentRefused: it is none, damaged, encrypted, has too many pages, or only pictures of pages.

    """
    require_pdf(content)
    try:
        document = pypdfium2.PdfDocument(content)
    except pypdfium2.PdfiumError as error:
        if error.err_code in (pdfium.FPDF_ERR_PASSWORD, pdfium.FPDF_ERR_SECURITY):
            raise refusals.encrypted() from error
        raise refusals.broken(what="is a damaged PDF") from error
    with closing(document):
        count = len(document)
        if count > limits.pages:
            raise refusals.too_complex(what=f"has {count} pages, and {limits.pages} is the limit: split it")
        pages = _pages(document, count, limits)
        read = ocr.recognised(document, (index for index, page in enumerate(pages) if not page), limits)
        if not any(pages) and not read:
            raise refusals.without_text(what=_without_text(count, limits))
        places = Places()
        text = _markdown(document, pages, places, read)
        steps = (_STEP, *_steps(pages, read))
        return Converted(text=text, title=_title(document) or _largest(pages[0]), places=places.found, steps=steps)


def _without_text(count: int, limits: ConversionLimits) -> str:
    if limits.ocr.command:
        return f"has {count} pages without text, and no text was recognised in them: scan it anew"
    return f"has {count} pages without text, as scans have: recognise its text first (OCR)"


def _steps(pages: Sequence[Sequence[_Line]], read: Mapping[int, str]) -> Iterator[str]:
    if read:
        yield f"recognise {len(read)} of {len(pages)} pages"
    if blank := sum(not page and index not in read for index, page in enumerate(pages)):
        yield f"{blank} of {len(pages)} pages without text"


def _pages(document: pypdfium2.PdfDocument, count: int, limits: ConversionLimits) -> list[list[_Line]]:
    pages, characters = list[list[_Line]](), 0
    for index in range(count):
        try:
            page = document[index]
        except pypdfium2.PdfiumError as error:
            raise refusals.broken(what=f"has a damaged page {index + 1}") from error
        with closing(page), closing(page.get_textpage()) as text:
            characters += text.count_chars()
            if characters > limits.text_bytes:
                text_limit = f"has more than {limits.text_bytes} characters: split it"
                raise refusals.too_complex(what=text_limit)
            pages.append(list(_lines(text)))
    return pages


def _lines(page: pypdfium2.PdfTextPage) -> Iterator[_Line]:
    units = [pdfium.FPDFText_GetUnicode(page, index) for index in range(page.count_chars())]
    start = 0
    for index, unit in enumerate([*units, 10]):
        if unit == 10:  # noqa: PLR2004 - a line feed
            visible = [place for place in range(start, index) if units[place] > 32]  # noqa: PLR2004 - a blank
            if visible:
                size = _size(page, visible[0])
                alike = math.isclose(size, _size(page, visible[-1]), rel_tol=0.02)
                text = _text(units[start:index])
                yield _Line(text, size if alike else 0.0, page.get_charbox(visible[0], loose=True)[1])
            start = index + 1


def _text(units: Sequence[int]) -> str:
    return unmarked(whole("".join(map(chr, units))).replace("\r", "").replace("\x00", ""))


def _size(page: pypdfium2.PdfTextPage, index: int) -> float:
    matrix = pdfium.FS_MATRIX()
    size = float(pdfium.FPDFText_GetFontSize(page, index))
    if pdfium.FPDFText_GetMatrix(page, index, ctypes.byref(matrix)):
        size *= math.hypot(matrix.c, matrix.d)
    return round(size, 1)


def _markdown(
    document: pypdfium2.PdfDocument, pages: Sequence[Sequence[_Line]], places: Places, read: Mapping[int, str]
) -> str:
    outline = _outline(document)
    levels = {} if outline else _levels(pages)
    parts = list[str]()
    for index, lines in enumerate(pages):
        if not lines and index not in read:
            continue
        label = document.get_page_label(index)
        mark = places.mark(AnchorKind.PAGE, index + 1, "" if label == str(index + 1) else label)
        written = "\n".join(map(_written, read[index].splitlines())) if index in read else ""
        parts.append(mark + (written or "".join(_page(lines, outline.get(index, {}), levels)).strip()))
    return "\n\n".join(parts)


def _page(lines: Sequence[_Line], outline: dict[str, int], levels: dict[float, int]) -> Iterator[str]:
    gap = _usual_gap(lines)
    before: _Line | None = None
    was_heading, joined = False, False
    for line in lines:
        text = line.text.strip()
        level = _level(line, text, outline, levels)
        if before and not joined:
            apart = before.bottom - line.bottom > gap * _PARAGRAPH_GAP or line.bottom > before.bottom + gap
            yield "\n\n" if level or was_heading or apart else "\n"
        joined = text.endswith(_HYPHENS)
        text = text.rstrip("".join(_HYPHENS))
        if level:
            yield f"{'#' * level} {text}"
        else:
            yield _written(text)
        before, was_heading = line, bool(level)


def _written(text: str) -> str:
    """Return a line so that Markdown reads it as it is printed."""
    return "\\" + text if _MARKUP.match(text) else _BULLET.sub("- ", text, count=1) if _BULLET.match(text) else text


def _usual_gap(lines: Sequence[_Line]) -> float:
    gaps = [round(one.bottom - other.bottom, 1) for one, other in pairwise(lines)]
    found = Counter(gap for gap in gaps if gap > 0)
    return min(found.most_common(2), default=(math.inf, 0))[0]


def _level(line: _Line, text: str, outline: dict[str, int], levels: dict[float, int]) -> int:
    if outline:
        return outline.get(_compared(text), 0)
    if len(text) > _MAX_HEADING or _SENTENCE.search(text) or not any(each.isalpha() for each in text):
        return 0
    return levels.get(line.size, 0)


def _largest(page: Sequence[_Line]) -> str:
    """Return the first line of the first page in its largest letters, where they are larger than others of it."""
    sizes = {line.size for line in page if line.size}
    found = (line.text.strip() for line in page if len(sizes) > 1 and line.size == max(sizes))
    title = next(found, "")
    return title if len(title) <= _MAX_HEADING else ""


def _levels(pages: Sequence[Sequence[_Line]]) -> dict[float, int]:
    """Return the level of heading of each size of letters that is larger than the text's, the largest first."""
    characters = Counter[float]()
    for page in pages:
        for line in page:
            characters[line.size] += len(line.text)
    del characters[0.0]
    if not characters:
        return {}
    body, total = characters.most_common(1)[0][0], characters.total()
    larger = [size for size in characters if size >= body * _LARGER and characters[size] < total / 4]
    return {size: min(place, _MAX_LEVELS) for place, size in enumerate(sorted(larger, reverse=True), start=1)}


def _outline(document: pypdfium2.PdfDocument) -> dict[int, dict[str, int]]:
    """Return the levels of the headings that the outline names, by page and compared text."""
    found: dict[int, dict[str, int]] = {}
    for number, bookmark in enumerate(document.get_toc(max_depth=_OUTLINE_DEPTH)):
        if number >= _MAX_OUTLINE:
            break
        target = bookmark.get_dest()
        page = target.get_index() if target else None
        title = _compared(bookmark.get_title())
        if page is not None and title:
            found.setdefault(page, {})[title] = bookmark.level + 1
    return found


def _compared(text: str) -> str:
    return "".join(text.casefold().split())


def _title(document: pypdfium2.PdfDocument) -> str:
    title = " ".join(document.get_metadata_value("Title").split())
    return "" if _JUNK_TITLE.match(title) else unmarked(title)
