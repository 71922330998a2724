"""What ingest hands over of a document version."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tidemill_rag.indexing.domain.places import Anchor

MetadataValue = str | int | float | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A part of a text, half-open, in code points."""

    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentContent:
    """The masked text of a document version, and its metadata."""

    media_type: str
    text: str
    title: str = ""
    language: str = ""
    """BCP 47; "" if unknown."""
    uri: str = ""
    readers: tuple[str, ...] = ()
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)
    anchors: tuple[Anchor, ...] = ()
    boilerplate: tuple[Span, ...] = ()
    """Which parts of the text are not searched, in order."""


def whole(value: MetadataValue) -> MetadataValue:
    """Return 5 for 5.0: a Struct knows only doubles."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
