"""Comma-separated values become a Markdown table."""

import csv
import io

from tidemill_ingest.anchors import AnchorKind
from tidemill_ingest.limits import ConversionLimits
from tidemill_ingest.parsing import refusals
from tidemill_ingest.parsing.converted import Converted, Places
from tidemill_ingest.parsing.plain import decoded
from tidemill_ingest.parsing.rows import stride, tables

_DELIMITERS = ",;\t|"
_SAMPLE = 4096


def convert(content: bytes, media_type: str, limits: ConversionLimits) -> Converted:
    """Return the rows as a table, with anchors for them.

    Raises:
        DocumentRefused: it is no text, or has too much of it.

    """
    text, step = decoded(content)
    delimiter = "\t" if media_type == "text/tab-separated-values" else _delimiter(text[:_SAMPLE])
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise refusals.broken(what="has a field without an end, or of more than 131072 characters") from error
    places = Places()
    numbered = [(number, row) for number, row in enumerate(rows, start=1) if any(cell.strip() for cell in row)]
    written = tables(numbered, places, every=stride(len(rows), limits), kind=AnchorKind.ROW, limits=limits)
    return Converted(text=written, places=places.found, steps=(step, "convert csv"))


def _delimiter(sample: str) -> str:
    try:
        return csv.Sniffer().sniff(sample, delimiters=_DELIMITERS).delimiter
    except csv.Error:
        first = sample.split("\n", 1)[0]
        return max(_DELIMITERS, key=first.count)
