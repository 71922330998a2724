"""A sample of a collection's documents that a caller may read, with what is known of their passages."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tidemill_rag.collections.domain.collection import IndexRef
from tidemill_rag.indexing.domain.ledger import Row
from tidemill_rag.indexing.ports import Ledger
from tidemill_rag.topics.domain import Sampled, spread_evenly
from tidemill_rag.vectors.ports import Point, VectorStore

PASSAGES = 4
"""Of a document, spread over it."""
_TEXT = 500
"""Characters of a passage that may have terms."""
_BATCH = 50
"""Documents whose points are read by one call, between searches."""
_SCANNED = 3
"""So many times as many rows as documents are read, where the caller may not read some."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The documents, and whether there are more."""

    documents: Sequence[Sampled]
    partial: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleDocuments:
    """Reads the documents whose ids come first: ids are digests, so they are drawn at random, and always alike."""

    ledger: Ledger
    vectors: VectorStore
    max_documents: int

    async def __call__(self, index: IndexRef, *, sources: Sequence[str], principals: Sequence[str]) -> Sample:
        """Return up to `max_documents`: those without readers, and those that one of the principals may read."""
        documents, after, scanned, more = list[Sampled](), "", 0, True
        while more and len(documents) < self.max_documents and scanned < _SCANNED * self.max_documents:
            rows = await self.ledger.first(index, sources=sources, after=after, limit=_BATCH)
            documents += await self._read([row for row in rows if row.chunks], index, frozenset(principals))
            scanned, more = scanned + len(rows), len(rows) == _BATCH
            after = rows[-1].desired.document if rows else ""
        return Sample(documents=documents[: self.max_documents], partial=more or len(documents) > self.max_documents)

    async def _read(self, rows: Sequence[Row], index: IndexRef, principals: frozenset[str]) -> list[Sampled]:
        ids = {
            index.point_id(row.desired.document, row.indexed_seq, ordinal): row
            for row in rows
            for ordinal in spread_evenly(row.chunks, limit=PASSAGES)
        }
        found = await self.vectors.get(index.key, list(ids)) if ids else ()
        of_document: dict[str, list[Point]] = {}
        for point in found:
            row = ids[point.id]
            if row.shows(point.payload.seq):
                of_document.setdefault(row.desired.document, []).append(point)
        return await asyncio.to_thread(_readable, rows, of_document, principals)


def _readable(rows: Sequence[Row], points: Mapping[str, Sequence[Point]], principals: frozenset[str]) -> list[Sampled]:
    sampled = []
    for row in rows:
        found = sorted(points.get(row.desired.document, ()), key=lambda point: point.payload.ordinal)
        if found and all(not each.payload.readers or principals & {*each.payload.readers} for each in found):
            sampled.append(_sampled(row, found))
    return sampled


def _sampled(row: Row, points: Sequence[Point]) -> Sampled:
    """Return a document as the mean of its passages: 50 documents of long vectors take milliseconds."""
    mean = np.mean([point.vector for point in points], axis=0)
    length = float(np.linalg.norm(mean))
    first = points[0].payload
    return Sampled(
        document=first.document,
        source=first.source,
        key=first.key,
        title=first.title,
        time=row.desired.version_time,
        vector=(mean / (length or 1.0)).astype(np.float32).tobytes(),
        text="\n".join(point.payload.span_text[:_TEXT] for point in points),
    )
