"""The records that a member of a consumer group has in hand: taken, not committed yet.

They wait in queues, each queue in order and queues beside each other. A record that is slow, or waits, holds up its
queue and nothing else, until so much of its partition waits, or is done behind it, that the partition's window is full.
What is done without a gap may be committed; of what is done, hardly more than the offset is kept until then.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field

import structlog

from tidemill_core.errors import InvalidInput, isolated
from tidemill_kit.events.cloudevents import CloudEvent
from tidemill_kit.events.records import Partition, Record
from tidemill_kit.events.retry import PartitionRevoked
from tidemill_kit.workers.fair_share import Turn, Turns

_CANCEL_S = 5.0
_POLL_INTERVAL_S = 0.05

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowLimits:
    """What may be in hand. `uncommitted_per_key` None is no limit."""

    records: int = 500
    """Of one partition that are not done, and a poll more."""
    value_bytes: int = 32 * 1024 * 1024
    """Of their values, and a poll more."""
    uncommitted: int = 5_000
    """Of one partition, done or not, and a poll more."""
    uncommitted_per_key: int | None = None
    """Of one queue, begun ones: fewer than an aggregate remembers requests where effects must happen once."""
    pause_after_failure_s: float = 1.0


@dataclass(slots=True, eq=False)
class _Place:
    """A record's place in its partition and its queue: all that is kept of it between its end and its commit."""

    offset: int
    key: Hashable
    done: bool


@dataclass(slots=True, eq=False)
class _Held:
    """What is in hand of one partition, in order of offset: what may be committed, and what may not."""

    places: deque[_Place] = field(default_factory=deque)
    finished: deque[_Place] = field(default_factory=deque)
    records: int = 0
    """Those that are not done; `value_bytes` are theirs."""
    value_bytes: int = 0
    farthest: int = -1
    """The highest offset that was begun."""

    def full(self, limits: WindowLimits) -> bool:
        """Return whether no more of the partition is to be taken."""
        return (
            self.records >= limits.records
            or self.value_bytes >= limits.value_bytes
            or len(self.places) + len(self.finished) >= limits.uncommitted
        )


@dataclass(slots=True, kw_only=True, eq=False)
class PendingRecord:
    """A record that is not done yet, or need not be."""

    record: Record
    event: CloudEvent | None = None
    error: InvalidInput | None = None
    """Why the record can never be handled, where that is known before it is."""
    key: Hashable = None
    """Records with the same one are handled in order; None where nothing is to be done."""
    replaces: Hashable = None
    """What the newest event of stands for all before it, None where every event counts."""
    by: "PendingRecord | None" = None
    """The newer one that stands for it."""
    supersedes: frozenset[str] = frozenset()
    """Types of the events that this one stands for, too."""
    passed: tuple["PendingRecord", ...] = ()
    """Those that were passed over, and are done with this one."""
    refused: bool = False
    """Whether it ended as a dead letter, so that it stands for nothing."""
    place: _Place = field(init=False)
    held: _Held = field(init=False)
    """What is in hand of its partition."""

    @property
    def superseded(self) -> bool:
        """Whether another one stands for it."""
        return self.by is not None and not self.by.refused

    @property
    def project(self) -> str:
        """Whose it is, "" where that could not be read."""
        return self.event.project if self.event else ""

    @property
    def size(self) -> int:
        """Bytes of its value."""
        return len(self.record.value or b"")


@dataclass(slots=True, eq=False)
class _KeyQueue:
    """Records of one order."""

    records: deque[PendingRecord] = field(default_factory=deque)
    uncommitted: int = 0
    in_work: bool = False
    given_up: bool = False


Process = Callable[[PendingRecord, asyncio.Event, Turn], Awaitable[None]]


class Window:
    """Brings records to their end while others come. `progress` is set when there is something to commit or to take.

    `hurry` is set while something waits for a commit, `space` when a partition may be full no more.
    """

    def __init__(self, *, process: Process, turns: Turns, limits: WindowLimits) -> None:
        self.progress = asyncio.Event()
        self.hurry = asyncio.Event()
        self.space = asyncio.Event()
        self._process = process
        self._turns = turns
        self._limits = limits
        self._revoked = asyncio.Event()
        self._over = False
        self._held: dict[Partition, _Held] = defaultdict(_Held)
        self._key_queues: dict[Hashable, _KeyQueue] = defaultdict(_KeyQueue)
        self._newest: dict[Hashable, PendingRecord] = {}
        self._ready = deque[_KeyQueue]()
        self._workers = set[asyncio.Task[None]]()
        self._starting = False

    def add(self, pending_records: Iterable[PendingRecord]) -> None:
        """Add records, which are in order of offset within each partition; those without a key are only committed."""
        for pending_record in pending_records:
            record, key = pending_record.record, pending_record.key
            held = pending_record.held = self._held[Partition(record.topic, record.partition)]
            place = pending_record.place = _Place(record.offset, key, done=key is None)
            held.places.append(place)
            if place.done:
                self.progress.set()
                continue
            held.records += 1
            held.value_bytes += pending_record.size
            self._supersede(pending_record)
            key_queue = self._key_queues[key]
            key_queue.records.append(pending_record)
            self._go_on(key_queue)

    def full(self, partition: Partition) -> bool:
        """Return whether no more of the partition is to be taken; ask for a commit then."""
        held = self._held.get(partition)
        if held is None or not held.full(self._limits):
            return False
        self.hurry.set()
        return True

    @property
    def idle(self) -> bool:
        """Whether nothing is in work."""
        return not self._working()

    async def wait(self, timeout_s: float) -> bool:
        """Wait until nothing is in work; return whether it came to that."""
        while not self.idle and timeout_s > 0:
            begun = asyncio.get_running_loop().time()
            await asyncio.wait(self._working(), timeout=timeout_s)
            timeout_s -= asyncio.get_running_loop().time() - begun
        return self.idle

    async def release(self, timeout_s: float) -> None:
        """Finish what is begun and what lies before it, so that it can be committed; cancel what takes too long."""
        self._revoked.set()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while not await self.wait(deadline - loop.time()) or self._stalled():
            if loop.time() >= deadline:
                break
            await asyncio.sleep(_POLL_INTERVAL_S)  # a commit lets queues go on
        self._over = True  # what a commit would let go on is another process's from here on
        for task in self._working():
            task.cancel()
        await self.wait(_CANCEL_S)

    def committable(self) -> Mapping[Partition, int]:
        """Return for each partition the offset to go on from, where everything before is done."""
        ends: dict[Partition, int] = {}
        for partition, held in self._held.items():
            while held.places and held.places[0].done:
                held.finished.append(held.places.popleft())
            if held.finished:
                ends[partition] = held.finished[-1].offset + 1
        return ends

    def committed(self, ends: Mapping[Partition, int]) -> None:
        """Let go what is committed; queues that waited for that go on."""
        self.hurry.clear()
        self.space.set()
        for partition, end in ends.items():
            held = self._held[partition]
            while held.finished and held.finished[0].offset < end:
                self._forget(held.finished.popleft().key)

    def left_over(self) -> Mapping[Partition, int]:
        """Return for each partition the first offset that is not done."""
        self.committable()
        return {partition: held.places[0].offset for partition, held in self._held.items() if held.places}

    def _forget(self, key: Hashable) -> None:
        key_queue = self._key_queues.get(key)
        if key_queue is None:
            return
        key_queue.uncommitted -= 1
        self._go_on(key_queue)
        if not key_queue.records and not key_queue.uncommitted:
            del self._key_queues[key]

    def _supersede(self, pending_record: PendingRecord) -> None:
        """Leave of what is not begun only the event with the highest number; those without a number stay."""
        if (
            pending_record.replaces is None
            or pending_record.event is None
            or pending_record.event.seq is None
            or pending_record.error is not None
        ):
            return
        known = self._newest.setdefault(pending_record.replaces, pending_record)
        if known is pending_record or known.event is None or known.event.seq is None:
            return
        older, newer = (
            (known, pending_record) if pending_record.event.seq > known.event.seq else (pending_record, known)
        )
        self._newest[pending_record.replaces] = newer
        older.by = newer
        newer.supersedes |= older.supersedes | {older.event.type if older.event else ""}

    def _go_on(self, key_queue: _KeyQueue) -> None:
        idle = not key_queue.in_work and not key_queue.given_up and not self._over
        if key_queue.records and idle and not self._waits_for_commit(key_queue):
            key_queue.in_work = True
            self._ready.append(key_queue)
            self._start_worker()

    def _start_worker(self) -> None:
        """Have a task take up what is ready, unless one is just about to."""
        if self._ready and not self._starting:
            self._starting = True
            worker = asyncio.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    def _waits_for_commit(self, key_queue: _KeyQueue) -> bool:
        limit = self._limits.uncommitted_per_key
        waits = limit is not None and key_queue.uncommitted >= limit
        if waits:
            self.hurry.set()
            self.progress.set()
        return waits

    def _stalled(self) -> bool:
        """Return whether a queue waits for a commit with something that has to be finished."""
        return any(
            key_queue.records
            and not key_queue.given_up
            and not self._past(key_queue.records[0])
            and self._waits_for_commit(key_queue)
            for key_queue in self._key_queues.values()
        )

    def _past(self, pending_record: PendingRecord) -> bool:
        """Return whether the record lies behind all that was begun, when nothing new is to be."""
        return self._revoked.is_set() and pending_record.record.offset > pending_record.held.farthest

    def _working(self) -> list[asyncio.Task[None]]:
        return [worker for worker in self._workers if not worker.done()]

    async def _work(self) -> None:
        """Work on one queue after the other; as soon as one has to wait, another worker goes on with the others.

        So a queue whose records wait for nothing costs no task.
        """
        self._starting = False
        while self._ready:
            key_queue = self._ready.popleft()
            self._start_worker()
            await self._work_on(key_queue)

    async def _work_on(self, key_queue: _KeyQueue) -> None:
        try:
            while key_queue.records and not self._over and not self._waits_for_commit(key_queue):
                pending_record = key_queue.records[0]
                async with self._turns.of(pending_record.project) as turn:
                    if self._past(pending_record):
                        break
                    held = pending_record.held
                    held.farthest = max(held.farthest, pending_record.record.offset)
                    if self._newest.get(pending_record.replaces) is pending_record:
                        del self._newest[pending_record.replaces]
                    key_queue.uncommitted += 1
                    key_queue.records.popleft()
                    await self._bring_to_end(pending_record, turn)
                if pending_record.refused:
                    self._fall_back(pending_record)
                self._end(pending_record)
        except PartitionRevoked:
            key_queue.given_up = True
        finally:
            key_queue.in_work = False

    def _fall_back(self, refused: PendingRecord) -> None:
        """Put the newest of those that a refused event stood for at the head of the queue: it stands for the others."""
        if not refused.passed:
            return
        newest = max(refused.passed, key=_sequence)
        others = tuple(each for each in refused.passed if each is not newest)
        refused.passed = ()
        for each in others:
            each.by = newest
            newest.supersedes |= {each.event.type if each.event else ""}
        newest.by, newest.passed = None, others
        key_queue = self._key_queues[newest.key]
        key_queue.records.appendleft(newest)
        key_queue.uncommitted -= 1  # it is begun once more
        self._go_on(key_queue)

    def _end(self, pending_record: PendingRecord) -> None:
        """Say that a record is done: one that was passed over is so together with the one that stands for it."""
        last = pending_record
        while last.by is not None and not last.by.refused:
            last = last.by
        ended, pending_record.passed = (pending_record, *pending_record.passed), ()
        if last is pending_record or last.place.done:
            for each in ended:
                self._finish(each)
        else:
            last.passed += ended
        self.progress.set()

    def _finish(self, pending_record: PendingRecord) -> None:
        held = pending_record.held
        was_full = held.full(self._limits)
        pending_record.place.done = True
        held.records -= 1
        held.value_bytes -= pending_record.size
        if was_full and not held.full(self._limits):
            self.space.set()

    async def _bring_to_end(self, pending_record: PendingRecord, turn: Turn) -> None:
        """Bring one record to its end, however often the engine itself fails at it: nothing behind it is committed."""
        while True:
            try:
                with isolated():
                    await self._process(pending_record, self._revoked, turn)
            except PartitionRevoked:
                raise
            except Exception as error:  # noqa: BLE001 - a defect of ours must not cost a record
                _log.error("event_engine_failed", offset=pending_record.record.offset, exc_info=error)
            else:
                return
            turn.pause()
            try:
                await asyncio.wait_for(self._revoked.wait(), self._limits.pause_after_failure_s)
            except TimeoutError:
                await turn.resume()
                continue
            raise PartitionRevoked


def _sequence(pending_record: PendingRecord) -> int:
    return pending_record.event.seq or 0 if pending_record.event else 0
