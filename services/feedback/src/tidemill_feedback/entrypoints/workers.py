"""Controllers: reconciles curations, and expires pending feedback."""

import asyncio
import time
from contextlib import suppress
from datetime import timedelta

import structlog

from tidemill_core.application import Clock
from tidemill_core.errors import TidemillError, isolated
from tidemill_feedback.application.ports import CurationLeases, Curations, Ledger
from tidemill_feedback.application.reconcile_curation import ReconcileCuration
from tidemill_feedback.application.sweep_pending import SweepPending
from tidemill_feedback.domain.ledger import CurationRef
from tidemill_kit.workers.fair_share import Turns
from tidemill_kit.workers.leases import Leases

_log = structlog.get_logger()

_HELD = timedelta(seconds=1)
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 5.0
_SWEEP = "pending"


class CurationWorker:
    """Reconciles enqueued curations: all at startup, then those that changed or are due.

    At startup that includes deleted ones with rows left, for which no event enqueues them. Corrections are debounced by
    `debounce_s`. A curation that another worker holds, or that failed, is retried, so that a correction which arrives
    while the holder finishes is not missed.
    """

    def __init__(  # noqa: PLR0913 - what a worker needs, put together once
        self,
        *,
        curations: Curations,
        ledger: Ledger,
        leases: CurationLeases,
        clock: Clock,
        max_concurrent: int,
        debounce_s: float,
        poll_interval_s: float,
    ) -> None:
        self._curations = curations
        self._ledger = ledger
        self._all_seen = False
        self._leases = leases
        self._clock = clock
        self._turns = Turns(max_concurrent)
        self._debounce_s = debounce_s
        self._poll_interval_s = poll_interval_s
        self._enqueued = asyncio.Event()
        self._due: dict[CurationRef, float] = {}
        self._running: set[CurationRef] = set()
        self._failures: dict[CurationRef, int] = {}

    def enqueue(self, ref: CurationRef) -> None:
        """Reconcile the curation soon."""
        at = time.monotonic() + self._debounce_s
        self._due[ref] = min(at, self._due.get(ref, at))
        self._enqueued.set()

    async def run(self, reconcile: ReconcileCuration) -> None:
        """Work until cancelled."""
        poll_at = 0.0
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._enqueued.clear()
                if time.monotonic() >= poll_at:
                    await self._check()
                    poll_at = time.monotonic() + self._poll_interval_s
                now = time.monotonic()
                for ref in [each for each, at in self._due.items() if at <= now and each not in self._running]:
                    del self._due[ref]
                    self._running.add(ref)
                    tasks.create_task(self._reconcile(reconcile, ref))
                waits = [at - now for each, at in self._due.items() if each not in self._running]
                with suppress(TimeoutError):
                    async with asyncio.timeout(max(0.01, min([poll_at - now, *waits]))):
                        await self._enqueued.wait()

    async def _check(self) -> None:
        try:
            if self._all_seen:
                self._due |= dict.fromkeys(await self._ledger.pending_curations(self._clock.now()), 0.0)
                return
            self._due |= dict.fromkeys([*await self._curations.all(), *await self._ledger.kept()], 0.0)
            self._all_seen = True
        except TidemillError as error:
            _log.warning("curations_not_listed", reason=error.reason, why=error.message)

    async def _reconcile(self, reconcile: ReconcileCuration, ref: CurationRef) -> None:
        pause: timedelta | None = None
        try:
            with isolated():
                async with self._turns.of(ref.project), self._leases.held(ref) as epoch:
                    pause = _HELD if epoch is None else await reconcile(ref, epoch=epoch)
                self._failures.pop(ref, None)
                if epoch is not None:
                    _log.debug("curation_reconciled", curation=ref.key)
        except TidemillError as error:
            pause = self._failed(ref)
            _log.warning("curation_reconcile_failed", curation=ref.key, reason=error.reason, why=error.message)
        except Exception as error:  # noqa: BLE001 - one curation that breaks must not end the others
            pause = self._failed(ref)
            _log.error("curation_reconcile_broken", curation=ref.key, exc_info=error)
        finally:
            self._running.discard(ref)
            if pause is not None:
                at = time.monotonic() + pause.total_seconds()
                self._due[ref] = min(at, self._due.get(ref, at))
            self._enqueued.set()

    def _failed(self, ref: CurationRef) -> timedelta:
        """Return the backoff after a failure."""
        self._failures[ref] = self._failures.get(ref, 0) + 1
        return timedelta(seconds=min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(8, self._failures[ref])))


async def sweep_for_ever(sweep: SweepPending, leases: Leases, *, every_s: float) -> None:
    """Expire pending feedback periodically, in one worker at a time."""
    while True:
        try:
            with isolated():
                async with leases.held(_SWEEP) as lease:
                    given_up = 0 if lease is None else await sweep()
                if given_up:
                    _log.info("pending_feedback_given_up", reactions=given_up)
        except TidemillError as error:
            _log.warning("pending_sweep_postponed", reason=error.reason, why=error.message)
        except Exception as error:  # noqa: BLE001 - one that breaks must not keep the others waiting for ever
            _log.error("pending_sweep_broken", exc_info=error)
        await asyncio.sleep(every_s)
