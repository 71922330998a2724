"""Deletes what searches found to be out of date."""

import asyncio

import structlog

from tidemill_core.errors import TidemillError
from tidemill_rag.collections.domain.collection import IndexRef
from tidemill_rag.vectors.ports import VectorStore

_log = structlog.get_logger()

_MAX_STALE = 10_000
_RETRY_PAUSE_S = 1.0


class StalePoints:
    """Points of documents below a `seq`, to be deleted; what is dropped or fails is found again by later searches."""

    def __init__(self, vectors: VectorStore) -> None:
        self._vectors = vectors
        self._stale: dict[tuple[IndexRef, str], int] = {}
        self._enqueued = asyncio.Event()

    def enqueue(self, index: IndexRef, document: str, below_seq: int) -> None:
        """Schedule the deletion of a document's old points."""
        if len(self._stale) < _MAX_STALE:
            self._stale[index, document] = below_seq
            self._enqueued.set()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await self._enqueued.wait()
            self._enqueued.clear()
            while self._stale:
                (index, document), below_seq = self._stale.popitem()
                try:
                    await self._vectors.delete(index.key, document, below_seq=below_seq)
                except TidemillError as error:
                    _log.warning("stale_points_delete_failed", index=index.key, reason=error.reason, why=error.message)
                    await asyncio.sleep(_RETRY_PAUSE_S)
