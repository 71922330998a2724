"""Which media types are taken, and which module of `parsing` converts each."""

from collections.abc import Mapping
from dataclasses import dataclass

_OFFICE = "application/vnd.openxmlformats-officedocument"


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One kind of file.

    `converter` is a module of `tidemill_ingest.parsing`. What is not `text` comes as bytes, and by no submission topic,
    whose records are JSON.
    """

    name: str
    converter: str
    text: bool = False


_RTF = Format(name="RTF", converter="rtf", text=True)
_LINES = Format(name="JSON lines", converter="records", text=True)
_SHOW = Format(name="a presentation (.pptx)", converter="pptx")
_BOOK = Format(name="a workbook (.xlsx)", converter="xlsx")
_WORD = Format(name="a Word document (.docx)", converter="docx")
FORMATS: Mapping[str, Format] = {
    "text/plain": Format(name="plain text", converter="plain", text=True),
    "text/markdown": Format(name="Markdown", converter="plain", text=True),
    "text/html": Format(name="HTML", converter="html", text=True),
    "application/pdf": Format(name="a PDF", converter="pdf"),
    f"{_OFFICE}.wordprocessingml.document": _WORD,
    "application/vnd.ms-word.document.macroenabled.12": _WORD,
    f"{_OFFICE}.presentationml.presentation": _SHOW,
    "application/vnd.ms-powerpoint.presentation.macroenabled.12": _SHOW,
    f"{_OFFICE}.spreadsheetml.sheet": _BOOK,
    "application/vnd.ms-excel.sheet.macroenabled.12": _BOOK,
    "text/csv": Format(name="comma-separated values", converter="delimited", text=True),
    "text/tab-separated-values": Format(name="tab-separated values", converter="delimited", text=True),
    "application/json": Format(name="JSON", converter="records", text=True),
    "application/jsonl": _LINES,
    "application/x-ndjson": _LINES,
    "message/rfc822": Format(name="a mail", converter="mail", text=True),
    "application/epub+zip": Format(name="an EPUB", converter="epub"),
    "application/rtf": _RTF,
    "text/rtf": _RTF,
}
"""By media type, in lower case."""
MEDIA_TYPES = tuple(FORMATS)
