"""Mapping between domain objects, the contract's messages and stored documents: only differences are written out."""

from tidemill_kit.mapping.documents import DocumentCodec, FieldForm, Form, Tagged, as_entries, as_json, as_pairs
from tidemill_kit.mapping.from_messages import REST, from_message, from_struct, from_timestamp
from tidemill_kit.mapping.to_messages import to_message

__all__ = [
    "REST",
    "DocumentCodec",
    "FieldForm",
    "Form",
    "Tagged",
    "as_entries",
    "as_json",
    "as_pairs",
    "from_message",
    "from_struct",
    "from_timestamp",
    "to_message",
]
