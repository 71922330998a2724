"""What the office formats (ECMA-376) have in common: which part is the document, and what it is called."""

import xml.etree.ElementTree as ET
from collections.abc import Iterator

from tidemill_core.errors import named
from tidemill_ingest.limits import ConversionLimits
from tidemill_ingest.parsing import refusals
from tidemill_ingest.parsing.containers import Container, opened
from tidemill_ingest.parsing.converted import unmarked

_CONTENT_TYPES = "[Content_Types].xml"
_OVERRIDE = "{http://schemas.openxmlformats.org/package/2006/content-types}Override"
_TITLE = "{http://purl.org/dc/elements/1.1/}title"
_CORE = "docProps/core.xml"
_MAIN_TYPES = {
    "word": ("a Word document (.docx)", "wordprocessingml.document.main", "ms-word.document.macroenabled.main"),
    "powerpoint": (
        "a presentation (.pptx)",
        "presentationml.presentation.main",
        "ms-powerpoint.presentation.macroenabled.main",
    ),
    "excel": ("a workbook (.xlsx)", "spreadsheetml.sheet.main", "ms-excel.sheet.macroenabled.main"),
}
MACROS = "vbaProject.bin"


def opened_office(content: bytes, limits: ConversionLimits, *, program: str) -> tuple[Container, str]:
    """Return the parts of an office document, and the name of its main one.

    Raises:
        DocumentRefused: it is none of this program, damaged, encrypted, or not within the limits.

    """
    expected, *types = _MAIN_TYPES[program]
    container = opened(content, limits, expected=expected)
    if _CONTENT_TYPES not in container.names:
        raise refusals.mismatch(found="a ZIP archive", expected=expected)
    found = {name: kind.lower() for name, kind in _parts(container)}
    for name, kind in found.items():
        if any(each in kind for each in types):
            return container, name
    other = next(
        (main for main, *kinds in _MAIN_TYPES.values() if any(k in f for k in kinds for f in found.values())), ""
    )
    raise refusals.mismatch(found=other or "another office document", expected=expected)


def steps_of(container: Container) -> tuple[str, ...]:
    """Return what is said of what was not read."""
    macros = any(name.endswith(MACROS) for name in container.names)
    return ("macros not read",) if macros else ()


def title_of(container: Container) -> str:
    """Return the title among the document's properties, "" without one."""
    if _CORE not in container.names:
        return ""
    return unmarked(parsed(container, _CORE).findtext(_TITLE) or "")


def parsed(container: Container, name: str) -> ET.Element:
    """Return a part that is XML.

    Raises:
        DocumentRefused: it is damaged.

    """
    try:
        return ET.fromstring(container.xml(name))  # noqa: S314 - declares no entities
    except (ET.ParseError, ValueError) as error:
        raise refusals.broken(what=f"has a damaged part {named(name)}") from error


def _parts(container: Container) -> Iterator[tuple[str, str]]:
    for each in parsed(container, _CONTENT_TYPES).iter(_OVERRIDE):
        yield each.get("PartName", "").lstrip("/"), each.get("ContentType", "")
