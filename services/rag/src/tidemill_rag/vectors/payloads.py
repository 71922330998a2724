"""The stored format of payloads in both Qdrant adapters."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from tidemill_rag.indexing.domain.content import MetadataValue, whole
from tidemill_rag.indexing.domain.places import AnchorKind, Place
from tidemill_rag.vectors.ports import Payload

PLACES = "places"
DOCUMENT, SEQ, SOURCE, READERS, METADATA, FACETS = "document", "seq", "source", "readers", "metadata", "facets"
"""The fields used by filters. `facets` encodes metadata as strings: the embedded engine confuses true and 1."""

INDEXED = (DOCUMENT, SOURCE, READERS, FACETS)
"""Fields with a payload index; filters on other fields read the payload of every point."""

MAX_RANGE_FIELDS = 16
"""Fields of an index version that get a payload index when they are first filtered by range; further ones are read
from the payload of every point."""


def metadata_path(name: str) -> str:
    """Return the path of a metadata field in a payload."""
    return f'{METADATA}."{name}"'


def to_stored(payload: Payload) -> dict[str, Any]:
    """Return the payload as JSON values."""
    facets = [facet(name, value) for name, value in payload.metadata.items()]
    places = [[each.kind.value, each.first, each.last, each.name] for each in payload.places]
    stored = {READERS: list(payload.readers), METADATA: dict(payload.metadata), FACETS: facets, PLACES: places}
    return asdict(payload) | stored


def facet(name: str, value: MetadataValue) -> str:
    """Encode a metadata field and its value as one string; 2 and 2.0 are equal."""
    return f"{name}={json.dumps(whole(value), ensure_ascii=False)}"


def from_stored(stored: Mapping[str, Any]) -> Payload:
    """Return the payload of JSON values."""
    known = {name: value for name, value in stored.items() if name != FACETS}
    places = tuple(
        Place(kind=AnchorKind(kind), first=first, last=last, name=name)
        for kind, first, last, name in stored.get(PLACES, ())
    )
    return Payload(**{**known, READERS: tuple(stored[READERS]), PLACES: places})
