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


_WORD = Format(name="a Word document (.docx)", converter="docx")
FORMATS: Mapping[str, Format] = {
    "text/plain": Format(name="plain text", converter="plain", text=True),
    "text/markdown": Format(name="Markdown", converter="plain", text=True),
    "text/html": Format(name="HTML", converter="html", text=True),
    "application/pdf": Format(name="a PDF", converter="pdf"),
    f"{_OFFICE}.wordprocessingml.document": _WORD,
    "application/vnd.ms-word.document.macroenabled.12": _WORD,
}
"""By media type, in lower case."""
MEDIA_TYPES = tuple(FORMATS)
