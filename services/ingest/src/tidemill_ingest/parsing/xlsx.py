"""Workbooks become Markdown: a section for each visible sheet, with its rows as tables."""

import io
import re
from collections.abc import Sequence
from datetime import date, datetime, time
from importlib.metadata import version

from python_calamine import CalamineError, CalamineSheet, CalamineWorkbook, SheetTypeEnum, SheetVisibleEnum

from tidemill_ingest.anchors import AnchorKind
from tidemill_ingest.limits import ConversionLimits
from tidemill_ingest.parsing import refusals
from tidemill_ingest.parsing.containers import Container
from tidemill_ingest.parsing.converted import Converted, Places, unmarked
from tidemill_ingest.parsing.office import opened_office, steps_of, title_of
from tidemill_ingest.parsing.rows import Row, stride, tables

_STEP = f"convert xlsx python-calamine {version('python-calamine')}"
_MAX_CELLS = 5_000_000
"""Of all sheets, between the first and the last cell of each, empty ones too: the library has them in memory."""
_READ = re.compile(r"xl/.+\.xml", re.IGNORECASE)
_SHEET = b"sheetData"
_REFERENCE = re.compile(rb"\sr=[\"']([A-Z]{1,3})([0-9]{1,7})[\"']")


def convert(content: bytes, media_type: str, limits: ConversionLimits) -> Converted:  # noqa: ARG001 - one port for all
    """Return the cells of a workbook as they were computed last, with anchors for its sheets and rows.

    Formulas, charts, comments and links are not read; of merged cells each has the value.

    Raises:
        DocumentRefused: it is none, damaged, encrypted, or not within the limits.

    """
    container, _ = opened_office(content, limits, program="excel")
    _check(container)
    try:
        workbook = CalamineWorkbook.from_filelike(io.BytesIO(content))
        hidden, sheets = 0, list[tuple[int, str, Sequence[Row]]]()
        for number, about in enumerate(workbook.sheets_metadata, start=1):
            if about.typ == SheetTypeEnum.WorkSheet and about.visible == SheetVisibleEnum.Visible:
                sheets.append((number, about.name, _rows(workbook.get_sheet_by_index(number - 1))))
            else:
                hidden += 1
    except (CalamineError, ValueError, OSError) as error:
        raise refusals.broken(what="is a damaged workbook") from error
    places, parts = Places(), list[str]()
    every = stride(sum(len(rows) for _, _, rows in sheets), limits)
    for number, name, rows in sheets:
        shown = " ".join(unmarked(name).split())
        mark = places.mark(AnchorKind.SHEET, number, shown)
        parts.append(f"{mark}## {shown}\n\n{tables(rows, places, every=every, kind=AnchorKind.ROW, limits=limits)}")
    has_rows = any(rows for _, _, rows in sheets)
    steps = (_STEP, *([f"{hidden} hidden sheets not read"] if hidden else []), *steps_of(container))
    text = "\n\n".join(parts) if has_rows else ""
    return Converted(text=text, title=title_of(container), places=places.found, steps=steps)


def _check(container: Container) -> None:
    """Refuse parts that are too large, and sheets whose cells are too many or too far apart, wherever they are."""
    cells = 0
    for name in container.names:
        if not _READ.fullmatch(name):
            continue
        data = container.xml(name)
        if _SHEET not in data:
            continue
        columns, rows = set[bytes](), set[int]()
        for cell in _REFERENCE.finditer(data):
            columns.add(cell[1])
            rows.add(int(cell[2]))
        places = [_column(each) for each in columns]
        cells += (1 + max(places) - min(places)) * (1 + max(rows) - min(rows)) if rows else 0
        if cells > _MAX_CELLS:
            text = f"has sheets of {cells} cells, empty ones too, and {_MAX_CELLS} is the limit: split it"
            raise refusals.too_complex(what=text)


def _column(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + letter - ord("A") + 1
    return number


def _rows(sheet: CalamineSheet) -> Sequence[Row]:
    values = sheet.to_python(skip_empty_area=True)
    if not values or sheet.start is None:
        return []
    top, left = sheet.start
    cells = [[_text(value) for value in row] for row in values]
    for (from_row, from_column), (to_row, to_column) in sheet.merged_cell_ranges or ():
        _fill(cells, (from_row - top, from_column - left), (to_row - top, to_column - left))
    return [(top + index + 1, row) for index, row in enumerate(cells)]


def _fill(cells: list[list[str]], first: tuple[int, int], last: tuple[int, int]) -> None:
    if first[0] < 0 or first[1] < 0 or first[0] >= len(cells) or first[1] >= len(cells[first[0]]):
        return
    value = cells[first[0]][first[1]]
    for row in cells[first[0] : last[0] + 1]:
        for column in range(first[1], min(last[1] + 1, len(row))):
            row[column] = value


def _text(value: object) -> str:
    match value:
        case bool():
            return "TRUE" if value else "FALSE"
        case float():
            return str(int(value)) if value.is_integer() and abs(value) < 2**53 else f"{value:.15g}"
        case datetime():
            return value.date().isoformat() if value.time() == time() else value.isoformat(sep=" ")
        case date() | time():
            return value.isoformat()
        case _:
            return str(value)
