"""Tables with merged cells: each row says all that holds for it."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from html_to_markdown import ConversionResult


class Cell(NamedTuple):
    """A cell as it is written: `row` counts rows; no column is reported, because what spans into a row shifts it."""

    row: int
    row_span: int
    col_span: int
    content: str


_SPANS_THE_REST = re.compile(r"(?i)(<t[dh]\b[^<>]{0,500}?\browspan\s{0,3}=\s{0,3}[\"']?)0(?![0-9])")
_MAX_ROWS = 65534
_MAX_CELLS, _MAX_COLUMNS = 50_000, 200


def with_written_spans(html: str) -> str:
    """Return a page whose cells say how many rows they span where they only say "the rest" (HTML, 4.9.11)."""
    return _SPANS_THE_REST.sub(rf"\g<1>{_MAX_ROWS}", html)


def with_merged_cells(result: ConversionResult) -> str:
    """Return the text with the value of a merged cell in each row and column that it spans."""
    markdown, parts, end = result.content or "", list[str](), 0
    for table in result.tables:
        cells = [Cell(each.row, each.row_span, each.col_span, each.content) for each in table.grid.cells]
        if not any(cell.row_span > 1 or cell.col_span > 1 for cell in cells):
            continue
        start = markdown.find(table.markdown, end)
        rows = _rows(cells) if start >= 0 else None
        if rows:
            parts += (markdown[end:start], "\n".join(_lines(rows)))
            end = start + len(table.markdown)
    return "".join((*parts, markdown[end:])) if parts else markdown


def _rows(cells: Sequence[Cell]) -> list[list[str]] | None:
    """Lay the cells out as a browser does; None for a table that would become far larger than it is written."""
    height = 1 + max(cell.row for cell in cells)
    grid: list[dict[int, str]] = [{} for _ in range(height)]
    capacity = _MAX_CELLS
    for cell in cells:
        column = 0
        while column in grid[cell.row]:
            column += 1
        bottom, right = min(cell.row + cell.row_span, height), column + cell.col_span
        capacity -= (bottom - cell.row) * cell.col_span
        if capacity < 0 or right > _MAX_COLUMNS:
            return None
        words = " ".join(cell.content.split())
        for row in range(cell.row, bottom):
            grid[row].update(dict.fromkeys(range(column, right), words))
    width = max(1 + max(row, default=0) for row in grid)
    return [[row.get(column, "") for column in range(width)] for row in grid]


def _lines(rows: list[list[str]]) -> Iterator[str]:
    for number, row in enumerate(rows):
        yield f"| {' | '.join(row)} |"
        if number == 0:
            yield f"| {' | '.join('---' for _ in row)} |"
