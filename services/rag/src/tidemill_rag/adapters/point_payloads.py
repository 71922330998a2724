"""Payloads as both Qdrant adapters store them."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from tidemill_rag.application.vector_store import MetadataValue, Payload

DOCUMENT, SEQ, SOURCE, READERS, FACETS = "document", "seq", "source", "readers", "facets"
"""The fields that filters name. `facets` spells metadata as text: the embedded engine takes true for 1 in filters."""

INDEXED = (DOCUMENT, SOURCE, READERS, FACETS)
"""What searches and deletions choose points by; for any other field an engine reads the payload of every point."""


def to_stored(payload: Payload) -> dict[str, Any]:
    """Return the payload as JSON values."""
    facets = [facet(name, value) for name, value in payload.metadata.items()]
    return asdict(payload) | {READERS: list(payload.readers), "metadata": dict(payload.metadata), FACETS: facets}


def facet(name: str, value: MetadataValue) -> str:
    """Return a field of metadata and its value as one text; 2 and 2.0 are the same number."""
    whole = int(value) if isinstance(value, float) and value.is_integer() else value
    return f"{name}={json.dumps(whole, ensure_ascii=False)}"


def from_stored(stored: Mapping[str, Any]) -> Payload:
    """Return the payload of JSON values."""
    known = {name: value for name, value in stored.items() if name != FACETS}
    return Payload(**{**known, READERS: tuple(stored[READERS])})
