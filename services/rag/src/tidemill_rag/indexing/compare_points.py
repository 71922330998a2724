"""Compare the ledger with the vector store, document by document."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tidemill_rag.collections.domain.collection import IndexRef
from tidemill_rag.indexing.domain.ledger import Row
from tidemill_rag.indexing.points import point_ids
from tidemill_rag.indexing.ports import Ledger
from tidemill_rag.vectors.ports import VectorStore

_MAX_POINTS = 5000
"""Points per request to the store, unless one document alone has more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparePoints:
    """Resets documents with missing points to pending, and deletes surplus points.

    Comparing counts is not enough: surplus points of one document would hide missing points of another.
    """

    ledger: Ledger
    vectors: VectorStore

    async def __call__(self, ref: IndexRef, *, epoch: int) -> int:
        """Return the number of documents with missing points."""
        lost: list[str] = []
        async for rows in self.ledger.indexed(ref):
            for part in _parts(rows):
                lost += await self._compare(ref, part)
        await self.ledger.reset(ref, lost, epoch=epoch)
        return len(lost)

    async def _compare(self, ref: IndexRef, rows: Sequence[Row]) -> Sequence[str]:
        stored = await self.vectors.ids(ref.key, [row.desired.document for row in rows])
        lost: list[str] = []
        for row in rows:
            document, seq = row.desired.document, row.desired.seq
            ids, expected = {*stored.get(document, ())}, point_ids(ref, row.desired, row.chunks)
            if not ids.issuperset(expected):
                lost.append(document)
            elif len(ids) > len(expected):
                await self.vectors.delete(ref.key, document, below_seq=seq + 1, keep=expected)
        return lost


def _parts(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    part: list[Row] = []
    points = 0
    for row in rows:
        if part and points + row.chunks > _MAX_POINTS:
            yield part
            part, points = [], 0
        part.append(row)
        points += row.chunks
    if part:
        yield part
