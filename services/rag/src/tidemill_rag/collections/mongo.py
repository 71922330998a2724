"""Stored form of collections."""

from tidemill_kit.mapping import DocumentCodec
from tidemill_rag.collections.domain.collection import Collection
from tidemill_rag.collections.messages import payload_of

COLLECTIONS = DocumentCodec(Collection, event=payload_of)
