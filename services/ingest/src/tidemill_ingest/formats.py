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
    has_members: bool = False
    """Whether there may be files inside that become documents of their own."""


_RTF = Format(name="RTF", converter="rtf", text=True)
_LINES = Format(name="JSON lines", converter="records", text=True)
_SHOW = Format(name="a presentation (.pptx)", converter="pptx")
_BOOK = Format(name="a workbook (.xlsx)", converter="xlsx")
_ZIP = Format(name="a ZIP archive", converter="archive", has_members=True)
_GZIP = Format(name="a gzip-compressed TAR archive (.tar.gz)", converter="archive", has_members=True)
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
    "message/rfc822": Format(name="a mail", converter="mail", text=True, has_members=True),
    "application/epub+zip": Format(name="an EPUB", converter="epub"),
    "application/rtf": _RTF,
    "text/rtf": _RTF,
    "application/zip": _ZIP,
    "application/x-zip-compressed": _ZIP,
    "application/x-tar": Format(name="a TAR archive", converter="archive", has_members=True),
    "application/gzip": _GZIP,
    "application/x-gzip": _GZIP,
}
"""By media type, in lower case."""
MEDIA_TYPES = tuple(FORMATS)
INSTEAD: Mapping[str, str] = {
    "application/vnd.ms-outlook": "save it as a mail (.eml) in Outlook, with its attachments",
    "application/vnd.oasis.opendocument.text": "save it as a Word document (.docx)",
    "application/vnd.oasis.opendocument.spreadsheet": "save it as a workbook (.xlsx)",
    "application/vnd.oasis.opendocument.presentation": "save it as a presentation (.pptx)",
    "application/msword": "save it as a Word document (.docx)",
    "application/vnd.ms-excel": "save it as a workbook (.xlsx)",
    "application/vnd.ms-powerpoint": "save it as a presentation (.pptx)",
}
"""What to do with files of common formats that are not taken."""


def is_listing(media_type: str) -> bool:
    """Return whether what is stored of such a file is a list of what is inside, to which no rules for texts apply."""
    return FORMATS[media_type].converter == "archive"
