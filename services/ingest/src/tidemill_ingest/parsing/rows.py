"""Rows become Markdown tables; the first row of each is its header, and rows have anchors."""

import math
from collections.abc import Iterator, Sequence

from tidemill_ingest.anchors import AnchorKind
from tidemill_ingest.limits import ConversionLimits
from tidemill_ingest.parsing import refusals
from tidemill_ingest.parsing.converted import Places, unmarked

Row = tuple[int, Sequence[str]]
"""Its number, counted from 1, or 0 for names of columns that are no row of the file, and its cells."""


def stride(rows: int, limits: ConversionLimits) -> int:
    """Return that every so manieth row has an anchor, where a document has so many rows."""
    return max(1, math.ceil(rows / limits.anchors))


def tables(rows: Sequence[Row], places: Places, *, every: int, kind: AnchorKind, limits: ConversionLimits) -> str:
    """Return a table for each run of rows without an empty one.

    Raises:
        DocumentRefused: there is too much text.

    """
    blocks, written = list[str](), 0
    for block in _blocks(rows):
        lines = list[str]()
        for line in _lines(block, places, every=every, kind=kind):
            written += len(line)
            if written > limits.text_bytes:
                raise refusals.too_complex(what=f"has more than {limits.text_bytes} characters in its rows: split it")
            lines.append(line)
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _blocks(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    block = list[Row]()
    for number, cells in rows:
        if any(cell.strip() for cell in cells):
            block.append((number, cells))
        elif block:
            yield block
            block = []
    if block:
        yield block


def _lines(block: Sequence[Row], places: Places, *, every: int, kind: AnchorKind) -> Iterator[str]:
    filled = {place for _, cells in block for place, cell in enumerate(cells) if cell.strip()}
    first, last = min(filled), max(filled)
    for index, (number, cells) in enumerate(block):
        shown = [_cell(cell) for cell in cells[first : last + 1]]
        shown += [""] * (last + 1 - first - len(shown))
        mark = places.mark(kind, number) if number and (number % every == 0 or (index == 0 and every == 1)) else ""
        yield f"{mark}| {' | '.join(shown)} |"
        if index == 0:
            yield f"| {' | '.join('---' for _ in shown)} |"


def _cell(text: str) -> str:
    return " ".join(unmarked(text).split()).replace("\\", "\\\\").replace("|", "\\|")
