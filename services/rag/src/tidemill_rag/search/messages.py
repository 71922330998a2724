"""Mapping between search requests and passages and their messages."""

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from google.protobuf.struct_pb2 import Struct

from tidemill.content.v1 import content_pb2
from tidemill_core.errors import InvalidInput, Violation
from tidemill_kit.mapping import from_struct, to_message
from tidemill_rag.indexing.domain.content import MetadataValue, whole
from tidemill_rag.vectors.ports import Match, Range

_FIELD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
"""What ingest accepts as the name of a field of metadata."""
_BOUNDS: Final = frozenset({"gte", "gt", "lte", "lt"})
_SUPPORTED = (
    "must be a string, a number, a boolean, a list of them that is not empty, or a range: {gte: 2, lt: 5} of numbers,"
    " or of times as in {gte: 2026-01-31}"
)


def filters_of(message: Struct) -> tuple[Mapping[str, Sequence[MetadataValue]], Mapping[str, Range]]:
    """Return a metadata filter: the accepted values of fields, and the ranges of others.

    Raises:
        InvalidInput: a value is neither a string, finite number or boolean, nor a list of them, nor a range.

    """
    violations, accepted, ranges = [], dict[str, Sequence[MetadataValue]](), dict[str, Range]()
    for name, value in from_struct(message, field="metadata_filter").items():
        values = value if isinstance(value, list) else [value]
        if isinstance(value, dict) and _FIELD.fullmatch(name) and (span := _range(value)):
            ranges[name] = span
        elif values and all(isinstance(each, str | int | float | bool) for each in values):
            accepted[name] = [whole(each) for each in values]
        else:
            violations.append(Violation(f"metadata_filter.{name}", _SUPPORTED))
    if violations:
        raise InvalidInput.of(*violations)
    return accepted, ranges


def _range(value: Mapping[str, object]) -> Range | None:
    """Return the range of these bounds, None if they are none, or of different kinds."""
    bounds = {name: _bound(bound) for name, bound in value.items()}
    kinds = {type(bound) for bound in bounds.values()}
    if not bounds or not _BOUNDS.issuperset(bounds) or len(kinds) > 1 or None in bounds.values():
        return None
    return Range(**bounds)


def _bound(value: object) -> float | datetime | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if math.isfinite(value) else None
    if not isinstance(value, str):
        return None
    try:
        time = datetime.fromisoformat(value)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def passage_message(position: int, match: Match) -> content_pb2.Passage:
    """Return the passage message; ids count from "1", the best match."""
    return to_message(content_pb2.Passage, match.payload, match, id=str(position))
