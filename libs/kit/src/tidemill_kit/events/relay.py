"""Brings events from the outboxes to Kafka: each aggregate's in order, each at least once under the same ce_id.

Event n+1 of an aggregate is published after n was acknowledged and taken out by its id. A crash in between publishes n
again. A save enqueues its document, with its events where no others wait, so that these need not be read; a sweep at
the start, and seldom after, finds what was missed. A relay holds on to what it cannot publish yet, so that others leave
that alone; two at once may repeat each other's events, and lose none. It knows of a limited number of documents: the
others, as there may be any number while Kafka is down, stay in the store, and are read in batches once these are done.

Of collections in which documents are mostly new, events that come one after the other are published, and taken out,
together a few times a second: each by itself would cost as much as what it reports, beside the next request. Events of
others are published at once: a replica that changes the document meanwhile would publish them, too. One that is not
taken keeps its worker, and no other event waits for it while there are workers left.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import structlog
from prometheus_client import Gauge

from tidemill_core.errors import DependencyUnavailable, isolated
from tidemill_kit.events.cloudevents import CloudEvent, to_headers
from tidemill_kit.events.records import OutgoingRecord, Publishing
from tidemill_kit.store.batching import Batched
from tidemill_kit.store.mongo import Collection, Document, translated
from tidemill_kit.store.outbox import WITH_EVENTS, NewEvents
from tidemill_kit.workers.rounds import Rounds
from tidemill_kit.workers.worker import Worker

OUTBOX_LENGTH = Gauge(
    "tidemill_outbox_aggregates", "Aggregates, and audited calls, whose events wait to be published: at most 10,000."
)
OUTBOX_AGE = Gauge("tidemill_outbox_age_seconds", "How long the oldest of them has waited.")

_SWEEP_EVERY_S = 60.0
_CONCURRENCY = 128
"""Aggregates whose events are published at the same time; one command reads, or takes out, those of many of them."""
_MAX_READ = 8
"""Events of one outbox that are read together; at their limits, those of 128 outboxes are 64 MB."""
_ROUND_S = 0.1
"""From one round of publishing to the next, unless as many wait as are published at the same time."""
_HELD_FOR = 1.5
"""Sweeps after which an outbox that no relay holds on to is another one's to empty."""
_HELD_BATCH = 1000
_MAX_KNOWN = 10_000
"""Documents that are known at once, at about 500 bytes each."""
_REFILL_BELOW = 0.1
"""The part of them that is left when more are read."""
_MAX_KEPT = 256
"""Documents whose events are kept in memory until they are published, which may be 64 KB each; others are read."""
_KEPT_S = 1.0
"""After which they are read all the same: by then another relay may have published them."""
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 10.0

_log = structlog.get_logger()


class _Outbox(NamedTuple):
    collection: str
    document_id: str


class _Published(NamedTuple):
    """An event that is to be taken out of its outbox."""

    document_id: str
    ce_id: str


@dataclass(frozen=True, slots=True)
class _Reading:
    """Reads what waits in documents of one collection."""

    collection: Collection

    async def __call__(self, batch: Sequence[str]) -> Sequence[Document | None]:
        """Return project and first events of each, None where it is gone."""
        with translated():
            found = self.collection.find({"_id": {"$in": list(batch)}}, _FIRST_EVENTS)
            read = {each["_id"]: each async for each in found}
        return [read.get(each) for each in batch]


@dataclass(frozen=True, slots=True)
class _TakingOut:
    """Takes published events out of the outboxes of one collection; no two of a batch are of one document."""

    collection: Collection

    async def __call__(self, batch: Sequence[_Published]) -> Sequence[bool]:
        """Take each out; return for each whether it was the last one of its outbox, as nearly all are."""
        not_empty = {each.document_id for each in batch}
        if len(batch) > 1:
            empty = {"$set": {"outbox": []}, **_NOTHING_WAITS}
            with translated():
                emptied = await self.collection.update_many(_where_last(batch), empty)
            not_empty = await self._not_empty(not_empty) if emptied.matched_count < len(batch) else set()
        return [each.document_id not in not_empty or await self._one(each) for each in batch]

    async def _not_empty(self, document_ids: AbstractSet[str]) -> set[str]:
        chosen: Document = {"_id": {"$in": list(document_ids)}, "outbox": {"$ne": []}}
        with translated():
            return {each["_id"] async for each in self.collection.find(chosen, {"_id": True})}

    async def _one(self, published: _Published) -> bool:
        without: Document = {"$pull": {"outbox": {"ce_id": published.ce_id}}}
        with translated():
            last = await self.collection.update_one(_where_last([published]), without | _NOTHING_WAITS)
            if last.matched_count == 0:
                await self.collection.update_one({"_id": published.document_id}, without)
        return bool(last.matched_count)


@dataclass(frozen=True, slots=True)
class _Removing:
    """Removes the documents of one collection that are there for events which were published."""

    collection: Collection

    async def __call__(self, batch: Sequence[_Published]) -> Sequence[bool]:
        """Remove those without another event; return for each whether it is gone."""
        with translated():
            removed = await self.collection.delete_many(_where_last(batch))
            if removed.deleted_count == len(batch):
                return [True] * len(batch)
            chosen: Document = {"_id": {"$in": [each.document_id for each in batch]}}
            left = {each["_id"] async for each in self.collection.find(chosen, {"_id": True})}
        return [each.document_id not in left for each in batch]


def _where_last(batch: Sequence[_Published]) -> Document:
    """Return what finds the outboxes of these events that have no other one."""
    named: Document = {"_id": {"$in": [each.document_id for each in batch]}}
    return named | {"outbox": {"$size": 1}, "outbox.ce_id": {"$in": [each.ce_id for each in batch]}}


class Relay(Worker):
    """Publishes the events of aggregates in collections that have an `enqueuer`.

    What was not published yet when it stops is found at the next start.
    """

    def __init__(
        self,
        publisher: Publishing,
        *,
        sweep_every_s: float = _SWEEP_EVERY_S,
        max_known: int = _MAX_KNOWN,
        round_s: float = _ROUND_S,
    ) -> None:
        super().__init__("relay", self._run)
        self._collections: dict[str, Collection] = {}
        self._reading: dict[str, Batched[str, Document | None]] = {}
        self._taking_out: dict[str, Batched[_Published, bool]] = {}
        self._publisher = publisher
        self._sweep_every_s = sweep_every_s
        self._since: dict[_Outbox, float] = {}
        self._kept: dict[_Outbox, NewEvents] = {}
        self._busy: set[_Outbox] = set()
        self._enqueued_meanwhile: set[_Outbox] = set()
        self._queue: asyncio.Queue[_Outbox] = asyncio.Queue()  # as many as are known: each is in it once
        self._max_known = max_known
        self._unread: set[str] = set()  # collections in which more wait than are known
        self._capacity = asyncio.Event()
        self._rounds = Rounds(self._queue.put_nowait, every_s=round_s, full=_CONCURRENCY)

    def enqueuer(
        self, collection: Collection, *, passing: bool = False, in_rounds: bool = False
    ) -> Callable[[NewEvents], None]:
        """Return what enqueues a document of this collection that got new events; all in it are swept from now on.

        With `passing` the documents are there for their events alone: each is removed with its last one. With
        `in_rounds` one that comes shortly after another waits for the next round.
        """
        self._collections[collection.name] = collection
        self._reading.setdefault(collection.name, Batched(_Reading(collection), max_concurrent=1, repeatable=True))
        taking_out = (_Removing if passing else _TakingOut)(collection)
        self._taking_out.setdefault(collection.name, Batched(taking_out, max_concurrent=1))
        go_on = self._rounds.join if in_rounds else self._queue.put_nowait
        return lambda new: self._enqueue(_Outbox(collection.name, new.document_id), time.time(), new, go_on)

    async def start(self) -> None:
        """Sweep, and begin."""
        OUTBOX_LENGTH.set_function(self.outbox_length)
        OUTBOX_AGE.set_function(self.oldest_age_s)
        await super().start()

    def begin_stop(self) -> None:
        """Publish without delay what comes until the end. See `service.Draining`."""
        self._rounds.end()

    def outbox_length(self) -> int:
        """Return how many aggregates are known to have events that wait; there may be more once many do."""
        return len(self._since)

    def oldest_age_s(self) -> float:
        """Return how long the oldest of them has waited."""
        return time.time() - min(self._since.values()) if self._since else 0.0

    def _enqueue(
        self,
        outbox: _Outbox,
        since: float,
        new: NewEvents | None = None,
        go_on: Callable[[_Outbox], None] | None = None,
    ) -> None:
        if outbox in self._busy:
            self._enqueued_meanwhile.add(outbox)
        elif outbox in self._since:
            self._kept.pop(outbox, None)  # there are more by now, which are read together
        elif len(self._since) >= self._max_known:
            self._unread.add(outbox.collection)
        else:
            self._since[outbox] = since
            if new is not None and new.entries and len(self._kept) < _MAX_KEPT:
                self._kept[outbox] = new
            (go_on or self._queue.put_nowait)(outbox)

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._sweep())
            tasks.create_task(self._refill())
            for _ in range(_CONCURRENCY):
                tasks.create_task(self._work())

    async def _sweep(self) -> None:
        """Find what no relay publishes: at the start everything, later what none has held for a while."""
        until = _EVER
        while True:
            for name in self._collections:
                await self._read(name, until=until, limit=self._max_known - len(self._since))
            await asyncio.sleep(self._sweep_every_s)
            until = datetime.now(UTC) - _HELD_FOR * timedelta(seconds=self._sweep_every_s)

    async def _refill(self) -> None:
        """Read the next of those that were too many to know of at once, the oldest first."""
        while True:
            await self._capacity.wait()
            self._capacity.clear()
            unread = sorted(self._unread)
            self._unread.clear()
            for index, name in enumerate(unread):
                limit = (self._max_known - len(self._since)) // (len(unread) - index)
                found = await self._read(name, until=_EVER, limit=limit)
                if found is None or not await self._hold(name, found):
                    self._unread.add(name)
                    await asyncio.sleep(_LONGEST_PAUSE_S)
            self._read_more()

    def _read_more(self) -> None:
        if self._unread and len(self._since) <= _REFILL_BELOW * self._max_known:
            self._capacity.set()

    async def _read(self, name: str, *, until: datetime, limit: int) -> Sequence[str] | None:
        """Enqueue documents whose events wait, at most `limit` of them; return their ids, None where it failed.

        Those that are known are held before, which makes them the newest, so that the others are found first.
        """
        waiting, found, seen = {"outbox_at": {**WITH_EVENTS["outbox_at"], "$lt": until}}, list[str](), 0
        if not await self._hold(name, [outbox.document_id for outbox in self._since if outbox.collection == name]):
            return None
        try:
            with translated():
                cursor = self._collections[name].find(waiting, {"outbox_at": True})
                async for document in cursor.sort("outbox_at", 1).limit(max(0, limit) + 1):
                    outbox, seen = _Outbox(name, document["_id"]), seen + 1
                    if seen > limit:
                        self._unread.add(name)
                    elif outbox not in self._since:
                        self._enqueue(outbox, document["outbox_at"].timestamp())
                        found.append(outbox.document_id)
        except DependencyUnavailable as error:
            _log.warning("outbox_sweep_failed", collection=name, why=error.message)
            return None
        return found

    async def _hold(self, name: str, ours: Sequence[str]) -> bool:
        """Say of what waits here, as all does while Kafka is down, that it does: else each replica would publish it."""
        try:
            with translated():
                for begin in range(0, len(ours), _HELD_BATCH):
                    held = {"_id": {"$in": ours[begin : begin + _HELD_BATCH]}, **WITH_EVENTS}
                    await self._collections[name].update_many(held, {"$set": {"outbox_at": datetime.now(UTC)}})
        except DependencyUnavailable as error:
            _log.warning("outbox_sweep_failed", collection=name, why=error.message)
            return False
        return True

    async def _work(self) -> None:
        while True:
            outbox = await self._queue.get()
            self._busy.add(outbox)
            try:
                with isolated():
                    await self._empty_patiently(outbox)
            except Exception as error:  # noqa: BLE001 - one aggregate's defect must not hold up the others; it is swept again
                _log.error("outbox_not_published", document=outbox.document_id, exc_info=error)
            finally:
                self._busy.discard(outbox)
                self._since.pop(outbox, None)
            if outbox in self._enqueued_meanwhile:
                self._enqueued_meanwhile.discard(outbox)
                self._enqueue(outbox, time.time())
            self._read_more()

    async def _empty_patiently(self, outbox: _Outbox) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                return await self._empty(outbox)
            except DependencyUnavailable as error:
                _log.warning("outbox_waiting", document=outbox.document_id, why=error.message)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _empty(self, outbox: _Outbox) -> None:
        """Publish event by event until the outbox is empty."""
        collection, new = self._collections[outbox.collection], self._kept.pop(outbox, None)
        if (
            new is not None
            and time.time() < self._since[outbox] + _KEPT_S
            and await self._publish(collection, outbox.document_id, new.project, new.entries)
        ):
            return
        while True:
            document = await self._reading[outbox.collection](outbox.document_id)
            entries = sorted(document["outbox"], key=lambda entry: int(entry["seq"])) if document else []
            if document is None or not entries:
                with translated():
                    await collection.update_one({"_id": outbox.document_id, "outbox": {"$size": 0}}, _NOTHING_WAITS)
                return
            if await self._publish(collection, outbox.document_id, document["project"], entries):
                return

    async def _publish(
        self, collection: Collection, document_id: str, project: str, entries: Sequence[Document]
    ) -> bool:
        """Publish the events in their order; return True where no other waits after them."""
        for entry in entries:
            await self._publisher.publish(_record(project, entry))
            if await self._taking_out[collection.name](_Published(document_id, entry["ce_id"])):
                return True
        return False


_EVER = datetime.max.replace(tzinfo=UTC)
_FIRST_EVENTS: Document = {"project": True, "outbox": {"$slice": _MAX_READ}}
_NOTHING_WAITS: Document = {"$unset": {"outbox_at": ""}}


def _record(project: str, entry: Document) -> OutgoingRecord:
    event = CloudEvent(
        id=entry["ce_id"],
        source=entry["source"],
        type=entry["type"],
        subject=entry["subject"],
        project=project,
        time=entry["time"],
        data=entry["data"].encode(),
        seq=entry["seq"],
        traceparent=entry["traceparent"],
    )
    return OutgoingRecord(topic=entry["topic"], key=entry["key"].encode(), value=event.data, headers=to_headers(event))
