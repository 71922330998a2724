"""Mapping between search requests and passages and their messages."""

from collections.abc import Mapping, Sequence

from google.protobuf.struct_pb2 import Struct

from tidemill.content.v1 import content_pb2
from tidemill_core.errors import InvalidInput, Violation
from tidemill_kit.mapping import from_struct, to_message
from tidemill_rag.indexing.domain.content import MetadataValue, whole
from tidemill_rag.vectors.ports import Match


def filter_of(message: Struct) -> Mapping[str, Sequence[MetadataValue]]:
    """Return a metadata filter: the accepted values of each field.

    Raises:
        InvalidInput: a value is neither a string, finite number or boolean nor a list of them.

    """
    violations, accepted = [], {}
    for name, value in from_struct(message, field="metadata_filter").items():
        values = value if isinstance(value, list) else [value]
        if not values or not all(isinstance(each, str | int | float | bool) for each in values):
            text = "must be a string, a number, a boolean, or a list of them that is not empty"
            violations.append(Violation(f"metadata_filter.{name}", text))
        accepted[name] = [whole(each) for each in values]
    if violations:
        raise InvalidInput.of(*violations)
    return accepted


def passage_message(position: int, match: Match) -> content_pb2.Passage:
    """Return the passage message; ids count from "1", the best match."""
    return to_message(content_pb2.Passage, match.payload, match, id=str(position), collection=None)
