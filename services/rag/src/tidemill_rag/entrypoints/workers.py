"""The controller of index versions: a work queue, leases, retries with backoff, and a periodic resync."""

import asyncio
import time
from contextlib import suppress

import structlog

from tidemill_core.errors import TidemillError, isolated
from tidemill_core.grpc.context import acting_for
from tidemill_kit.workers.fair_share import Turns
from tidemill_rag.application.ports import Indexes, IndexLeases, VectorStore
from tidemill_rag.application.reconcile_index import ReconcileIndex, Requeue
from tidemill_rag.domain.collection import IndexRef

_log = structlog.get_logger()

_HELD_PAUSE_S = 1.0
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 15.0
_MAX_SWEEPS = 10_000


class IndexWorker:
    """Reconciles enqueued index versions; all of them at start, and unfinished ones at every resync.

    One that another worker holds, or that failed, is requeued with a delay, so that an event which arrives while the
    holder finishes does not wait for the next resync.
    """

    def __init__(
        self,
        *,
        indexes: Indexes,
        leases: IndexLeases,
        vectors: VectorStore,
        max_concurrent: int,
        poll_interval_s: float,
    ) -> None:
        self._indexes = indexes
        self._leases = leases
        self._vectors = vectors
        self._turns = Turns(max_concurrent)
        self._poll_interval_s = poll_interval_s
        self._all_seen = False
        self._enqueued = asyncio.Event()
        self._due: dict[IndexRef, float] = {}
        self._running: set[IndexRef] = set()
        self._failures: dict[IndexRef, int] = {}
        self._stale: dict[tuple[IndexRef, str], int] = {}

    def enqueue(self, index: IndexRef) -> None:
        """Reconcile the index version as soon as possible."""
        self._due[index] = 0.0
        self._enqueued.set()

    def sweep(self, index: IndexRef, document: str, below_seq: int) -> None:
        """Schedule the deletion of a document's old passages; excess requests are dropped: searches repeat them."""
        if len(self._stale) < _MAX_SWEEPS:
            self._stale[index, document] = below_seq
            self._enqueued.set()

    async def run(self, reconcile: ReconcileIndex) -> None:
        """Work until cancelled."""
        poll_at = 0.0
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._enqueued.clear()
                if time.monotonic() >= poll_at:
                    await self._check()
                    poll_at = time.monotonic() + self._poll_interval_s
                await self._sweep_stale()
                now = time.monotonic()
                for index in [each for each, at in self._due.items() if at <= now and each not in self._running]:
                    del self._due[index]
                    self._running.add(index)
                    tasks.create_task(self._reconcile(reconcile, index))
                waits = [at - now for each, at in self._due.items() if each not in self._running]
                with suppress(TimeoutError):
                    async with asyncio.timeout(max(0.01, min([poll_at - now, *waits]))):
                        await self._enqueued.wait()

    async def _check(self) -> None:
        try:
            for index in await (self._indexes.unfinished() if self._all_seen else self._indexes.all()):
                self._due.setdefault(index, 0.0)
            self._all_seen = True
        except TidemillError as error:
            _log.warning("indexes_not_listed", reason=error.reason, why=error.message)

    async def _sweep_stale(self) -> None:
        while self._stale:
            (index, document), below_seq = self._stale.popitem()
            try:
                await self._vectors.delete(index.key, document, below_seq=below_seq)
            except TidemillError as error:
                _log.warning("stale_points_delete_failed", index=index.key, reason=error.reason, why=error.message)
                return

    async def _reconcile(self, reconcile: ReconcileIndex, index: IndexRef) -> None:
        started = time.perf_counter()
        pause_s: float | None = None
        try:
            with isolated():
                async with self._turns.of(index.project), self._leases.held(index) as epoch:
                    with acting_for(index.project):  # whose turn it is at what all projects share
                        requeue = Requeue.LATER if epoch is None else await reconcile(index, epoch=epoch)
                pause_s = {Requeue.WHEN_ENQUEUED: None, Requeue.NOW: 0.0, Requeue.LATER: _HELD_PAUSE_S}[requeue]
                self._failures.pop(index, None)
                if epoch is not None:
                    _log.debug("index_reconciled", index=index.key, duration_s=round(time.perf_counter() - started, 3))
        except TidemillError as error:
            pause_s = self._failed(index)
            _log.warning("index_reconcile_failed", index=index.key, reason=error.reason, why=error.message)
        except Exception as error:  # noqa: BLE001 - one index version that breaks must not end the others
            pause_s = self._failed(index)
            _log.error("index_reconcile_broken", index=index.key, exc_info=error)
        finally:
            self._running.discard(index)
            if pause_s is not None:
                self._due.setdefault(index, time.monotonic() + pause_s)
            self._enqueued.set()

    def _failed(self, index: IndexRef) -> float:
        """Return how long to wait: longer with each failure in a row."""
        self._failures[index] = self._failures.get(index, 0) + 1
        return float(min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(8, self._failures[index])))
