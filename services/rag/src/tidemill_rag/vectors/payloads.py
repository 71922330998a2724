"""The stored format of payloads in both Qdrant adapters."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from tidemill_rag.indexing.domain.content import MetadataValue, whole
from tidemill_rag.vectors.ports import Payload

DOCUMENT, SEQ, SOURCE, READERS, FACETS = "document", "seq", "source", "readers", "facets"
"""The fields used by filters. `facets` encodes metadata as strings: the embedded engine confuses true and 1."""

INDEXED = (DOCUMENT, SOURCE, READERS, FACETS)
"""Fields with a payload index; filters on other fields read the payload of every point."""


def to_stored(payload: Payload) -> dict[str, Any]:
    """Return the payload as JSON values."""
    facets = [facet(name, value) for name, value in payload.metadata.items()]
    return asdict(payload) | {READERS: list(payload.readers), "metadata": dict(payload.metadata), FACETS: facets}


def facet(name: str, value: MetadataValue) -> str:
    """Encode a metadata field and its value as one string; 2 and 2.0 are equal."""
    return f"{name}={json.dumps(whole(value), ensure_ascii=False)}"


def from_stored(stored: Mapping[str, Any]) -> Payload:
    """Return the payload of JSON values."""
    known = {name: value for name, value in stored.items() if name != FACETS}
    return Payload(**{**known, READERS: tuple(stored[READERS])})
