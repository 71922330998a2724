"""JSON and JSON lines become Markdown: flat records are a table, others a section each."""

import json
from collections.abc import Iterator, Mapping, Sequence

from tidemill_ingest.anchors import AnchorKind
from tidemill_ingest.limits import ConversionLimits
from tidemill_ingest.parsing import refusals
from tidemill_ingest.parsing.converted import Converted, Places, unmarked
from tidemill_ingest.parsing.plain import decoded
from tidemill_ingest.parsing.rows import stride, tables

_LINES = ("application/jsonl", "application/x-ndjson")
_MAX_DEPTH = 60
_MAX_COLUMNS = 50


def convert(content: bytes, media_type: str, limits: ConversionLimits) -> Converted:
    """Return the values; a file of records has an anchor for each of them.

    Raises:
        DocumentRefused: it is no JSON, or nested too deep.

    """
    text, step = decoded(content)
    places = Places()
    value = list(_lines(text)) if media_type in _LINES else _parsed(text, "")
    records = value if isinstance(value, list) and value and all(isinstance(each, dict) for each in value) else None
    if records is None:
        written = "\n".join(_nested(value, 0))
    elif columns := _columns(records):
        cells = ((number, _cells(each, columns)) for number, each in enumerate(records, start=1))
        rows = [(0, columns), *(row for row in cells if any(row[1]))]
        every = stride(len(rows), limits)
        written = tables(rows, places, every=every, kind=AnchorKind.RECORD, limits=limits)
    else:
        written = _sections(records, places, limits)
    return Converted(text=written, places=places.found, steps=(step, "convert json"))


def _lines(text: str) -> Iterator[object]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield _parsed(line, f" in line {number}")


def _parsed(text: str, where: str) -> object:
    try:
        return json.loads(text, parse_int=str, parse_float=str)  # numbers stay as they are written
    except ValueError as error:
        place = f" (at character {error.pos})" if isinstance(error, json.JSONDecodeError) else ""
        raise refusals.broken(what=f"is no JSON{where}{place}") from error


def _columns(records: Sequence[Mapping[str, object]]) -> list[str]:
    """Return the names of all fields, none where a table of them would not be read."""
    names = dict.fromkeys(name for each in records for name in each)
    flat = all(not isinstance(value, dict | list) for each in records for value in each.values())
    filled = sum(map(len, records)) * 2 >= len(names) * len(records)
    return list(names) if flat and filled and 0 < len(names) <= _MAX_COLUMNS else []


def _cells(record: Mapping[str, object], columns: Sequence[str]) -> list[str]:
    return [_text(record[name]) if name in record else "" for name in columns]


def _sections(records: Sequence[object], places: Places, limits: ConversionLimits) -> str:
    every, parts = stride(len(records), limits), list[str]()
    for number, record in enumerate(records, start=1):
        mark = places.mark(AnchorKind.RECORD, number) if number % every == 0 else ""
        parts.append(f"{mark}## Record {number}\n\n" + "\n".join(_nested(record, 0)))
    return "\n\n".join(parts)


def _nested(value: object, depth: int) -> Iterator[str]:
    if depth > _MAX_DEPTH:
        raise refusals.too_complex(what=f"has values that are nested deeper than {_MAX_DEPTH}: flatten it")
    indent = "  " * depth
    match value:
        case dict():
            for name, below in value.items():
                yield from _entry(indent, f"{_text(name)}:", below, depth)
        case list():
            for below in value:
                yield from _entry(indent, "", below, depth)
        case _:
            yield indent + _text(value)


def _entry(indent: str, name: str, value: object, depth: int) -> Iterator[str]:
    if isinstance(value, dict | list):
        yield f"{indent}- {name}".rstrip() if name else f"{indent}- \u2014"
        yield from _nested(value, depth + 1)
    else:
        yield f"{indent}- {name} {_text(value)}" if name else f"{indent}- {_text(value)}"


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return " ".join(unmarked(str(value)).split())
