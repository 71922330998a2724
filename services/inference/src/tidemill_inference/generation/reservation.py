"""The right to answer one request id, among all replicas: held by a lease while the answer is made."""

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from tidemill_core.application import Clock, Request
from tidemill_core.errors import AlreadyExists, DeadlineExceeded, DependencyUnavailable, TidemillError, isolated
from tidemill_inference.deployments.domain.spec import RecordMode
from tidemill_inference.generation.domain.errors import InferenceNotFound, LeaseLost
from tidemill_inference.generation.domain.inference import Answer, Inference, Lease, State, Variant
from tidemill_inference.generation.ports import Inferences
from tidemill_inference.prices.domain.price import Cost
from tidemill_inference.routing.domain.attempt import Attempt

_SAVE_TIMEOUT_S = 5.0
_BEATS = 3
"""Renewals within the term of a lease, so that one lost renewal does no harm."""

_log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Reservation:
    """The record, and the lease on it; without a lease another process has COMPLETED it."""

    inference: Inference
    lease: Lease | None
    inferences: Inferences
    clock: Clock
    attempts: Sequence[Attempt] = ()
    """Those of its answer so far, which are saved also where no answer comes of it."""
    cost: Callable[[], Cost | None] = lambda: None
    """What the answer has cost so far."""
    saved: bool = True
    """False for a record that is saved when its answer has ended, or begins to be made."""
    deleted: Callable[[str], bool] = lambda _project: False
    """Whether a project is being erased: nothing is saved behind that."""
    _saving: asyncio.Lock = field(default_factory=asyncio.Lock)
    _ended: bool = False

    async def begin(self, ttl: timedelta) -> None:
        """Save that the answer is being made, unless that is saved, or nothing is kept of what was asked.

        Raises:
            InferenceNotFound: its project is being erased.

        """
        if self.inference.record is RecordMode.NONE:
            return
        async with self._saving:
            if not self.saved:
                lease = replace(self._held(), until=self.clock.now() + ttl)
                await self._add(lambda stored: stored.renew(lease))
                self.lease = lease

    async def complete(self, answer: Answer) -> Inference:
        """Save the answer and return the record.

        Raises:
            LeaseLost: another replica has taken it over.

        """
        await self._end(lambda stored, lease: stored.complete(lease, answer, now=self.clock.now()))
        return self.inference

    async def fail(self, reason: str) -> None:
        """Save that no answer came of it."""
        cost = self.cost()
        await self._end(
            lambda stored, lease: stored.fail(
                lease, reason=reason, now=self.clock.now(), attempts=self.attempts, cost=cost
            )
        )

    async def cancel(self) -> None:
        """Save the cancellation by the last client."""
        cost = self.cost()
        await self._end(
            lambda stored, lease: stored.cancel(lease, now=self.clock.now(), attempts=self.attempts, cost=cost)
        )

    async def renew(self, ttl: timedelta) -> None:
        """Hold the right for longer, unless it has been used."""
        async with self._saving:
            if self._ended or not self.saved:
                return
            longer = replace(self._held(), until=self.clock.now() + ttl)
            await self._save(lambda stored, _lease: stored.renew(longer))
            self.lease = longer

    async def _end(self, change: Callable[[Inference, Lease], None]) -> None:
        """Save how it ended; a renewal at the same time would take an ended inference for a lost one."""
        async with self._saving:
            await self._save(change)
            self._ended = True

    async def _save(self, change: Callable[[Inference, Lease], None]) -> None:
        lease = self._held()
        if not self.saved:
            await self._add(lambda record: change(record, lease))
            return
        self.inference = await self.inferences.update(
            self.inference.project,
            self.inference.id,
            lambda stored: change(stored, lease),
            request=Request.internal(),
            known=self.inference,
        )

    async def _add(self, change: Callable[[Inference], None]) -> None:
        """Save a record that is not saved so far."""
        if self.deleted(self.inference.project):
            raise InferenceNotFound(self.inference.id)
        record = deepcopy(self.inference)
        change(record)
        try:
            self.inference = await self.inferences.add(record, request=Request.internal())
        except AlreadyExists:  # saved by a call that was left, or not answered
            stored = await self.inferences.get(record.project, record.id)
            if not stored.holds(self._held().owner):
                raise
            self.inference = await self.inferences.update(
                record.project, record.id, change, request=Request.internal(), known=stored
            )
        self.saved = True

    def _held(self) -> Lease:
        assert self.lease is not None  # noqa: S101 - only the holder saves
        return self.lease


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservations:
    """`ttl` is how long a replica that died keeps others waiting."""

    inferences: Inferences
    clock: Clock
    ttl: timedelta = timedelta(seconds=15)
    poll_s: float = 0.2
    deleted: Callable[[str], bool] = lambda _project: False

    @asynccontextmanager
    async def reserved(
        self, fresh: Inference, variant: Variant, *, deadline: float, alone: bool = False
    ) -> AsyncIterator[Reservation]:
        """Wait for the lease, or for the answer of its holder, and renew the lease during the block.

        A block that ends with an error or a cancellation is saved as such. `deadline` is on time.monotonic(). With
        `alone` no other caller can ask for this answer: its record is saved once, when the block has ended.

        Raises:
            RequestIdReused: the request id belongs to another body.
            DeadlineExceeded: another process was still answering at the deadline.
            DependencyUnavailable: the lease could not be kept.

        """
        reservation = self._alone(fresh, variant) if alone else await self._reserve(fresh, variant, deadline)
        if reservation.lease is None:
            yield reservation
            return
        try:
            with isolated():
                async with self._kept(reservation):
                    yield reservation
        except asyncio.CancelledError:
            await self._recorded(reservation, reservation.cancel())
            raise
        except Exception as error:
            reason = error.reason if isinstance(error, TidemillError) else "INTERNAL"
            await self._recorded(reservation, reservation.fail(reason))
            raise

    async def _reserve(self, fresh: Inference, variant: Variant, deadline: float) -> Reservation:
        owner = str(uuid.uuid4())
        while True:
            now = self.clock.now()
            lease = Lease(owner=owner, epoch=0, until=now + self.ttl)

            def reserve(stored: Inference, lease: Lease = lease) -> None:
                stored.reserve(lease, fresh, variant=variant, now=self.clock.now())

            stored = await self.inferences.upsert(fresh, reserve, request=Request.internal())
            mine = stored.lease if stored.holds(owner) else None
            if mine or stored.state is State.COMPLETED:
                return Reservation(inference=stored, lease=mine, inferences=self.inferences, clock=self.clock)
            if time.monotonic() + self.poll_s > deadline:
                message = f"another replica is still answering inference {fresh.id}: try again"
                raise DeadlineExceeded(message, inference=fresh.id)
            await asyncio.sleep(self.poll_s)

    def _alone(self, fresh: Inference, variant: Variant) -> Reservation:
        """Return the right to answer what no other process knows of."""
        now = self.clock.now()
        record = replace(fresh, create_time=now.replace(microsecond=now.microsecond // 1000 * 1000))  # as it is stored
        record.reserve(Lease(owner=str(uuid.uuid4()), epoch=0, until=now + self.ttl), fresh, variant=variant, now=now)
        return Reservation(
            inference=record,
            lease=record.lease,
            inferences=self.inferences,
            clock=self.clock,
            saved=False,
            deleted=self.deleted,
        )

    @asynccontextmanager
    async def _kept(self, reservation: Reservation) -> AsyncIterator[None]:
        """Renew the lease beside the block, and cancel the block when it is lost."""
        body = asyncio.current_task()
        assert body is not None  # noqa: S101 - a coroutine runs in a task
        lost: list[TidemillError] = []
        beating: list[asyncio.Task[None]] = []

        async def beat() -> None:
            try:
                await self._renewing(reservation)
            except TidemillError as error:
                lost.append(error)
                body.cancel()

        # Most answers are there before the first renewal is due, and need no task for it.
        due = asyncio.get_running_loop().call_later(self._every_s, lambda: beating.append(asyncio.create_task(beat())))
        try:
            yield
        except asyncio.CancelledError:
            if lost and body.uncancel() == 0:
                raise lost[0] from None
            raise
        finally:
            due.cancel()
            for each in beating:
                each.cancel()
                await asyncio.wait({each})

    @property
    def _every_s(self) -> float:
        return self.ttl.total_seconds() / _BEATS

    async def _renewing(self, reservation: Reservation) -> None:
        """Renew for ever; a store that is down is asked again while the lease still holds."""
        while True:
            try:
                await reservation.renew(self.ttl)
            except DependencyUnavailable:
                if reservation.lease is None or reservation.lease.until <= self.clock.now():
                    raise
            await asyncio.sleep(self._every_s)

    async def _recorded(self, reservation: Reservation, saving: Coroutine[Any, Any, None]) -> None:
        """Save how it ended, also while being cancelled; where that fails, the lease runs out by itself."""
        task = asyncio.ensure_future(saving)
        with suppress(asyncio.CancelledError):
            await asyncio.wait({task}, timeout=_SAVE_TIMEOUT_S)
        if not task.done():
            task.cancel()
        elif not task.cancelled() and (error := task.exception()) and not isinstance(error, LeaseLost):
            _log.warning("inference_end_not_saved: %s", reservation.inference.id, exc_info=error)
