"""The audit trail of a service: intents and outcomes in its own store, whose outbox the relay empties.

A document is `{_id, project, hold_until, record}` from the intent to the outcome, and `{_id, project, outbox: [entry],
outbox_at}` from then until it is published, when it is removed. An intent whose process ended is relayed as "outcome
unknown" once `hold_until` has passed, which a running process moves on. Where that process could not do so in time,
the outcome itself follows as an event of its own, and stands.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol

import structlog
from google.protobuf.json_format import MessageToJson
from prometheus_client import Counter

from tidemill.monitor.v1.audit_events_pb2 import AuditRecorded
from tidemill.monitor.v1.audit_pb2 import AuditOutcome, AuditRecord
from tidemill_core.application import derived_id
from tidemill_core.errors import DependencyUnavailable, TidemillError
from tidemill_core.tracing import traceparent
from tidemill_kit.audit.calls import AuditedCall
from tidemill_kit.audit.refusals import Refusals
from tidemill_kit.store.batching import Batched
from tidemill_kit.store.mongo import Collection, Document, document_id, insert_new, translated, update_each
from tidemill_kit.store.outbox import WITH_EVENTS, NewEvents
from tidemill_kit.workers.worker import Worker

TOPIC = "tidemill.monitor.audit.v1"
RECORDED = "tidemill.monitor.audit.recorded.v1"
COLLECTION = "audit"
INSTALLATION = "installation"
"""The project that the event of a record without one names; the record itself names none."""

MAX_WAITING = 10_000
"""Outcomes that wait for the store; the intents of further ones become "outcome unknown"."""
_UNKNOWN = "unknown"
_BATCH = 500
_SWEEPS_PER_HOLD = 4
_MAX_SWEEP_S = 60.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 10.0
_LAST_TRY_S = 5.0

RECORDS = Counter("tidemill_audit_records", "Audit records stored, by outcome.", ["outcome"])
LOST = Counter("tidemill_audit_outcomes_dropped", "Outcomes that were dropped because too many waited for the store.")

_log = structlog.get_logger()


class AuditUnavailable(DependencyUnavailable):
    """The call cannot be recorded now, so it is not carried out."""

    reason = "AUDIT_UNAVAILABLE"

    def __init__(self) -> None:
        message = "the call cannot be recorded in the audit trail now, so it was not carried out: try again"
        super().__init__(message, dependency="audit")


class AuditTrail(Protocol):
    """What the edges record audited calls in."""

    async def begin(self, call: AuditedCall) -> None:
        """Store the intent, before the handler runs.

        Raises:
            AuditUnavailable: it cannot be stored.

        """
        ...

    async def finish(self, call: AuditedCall) -> None:
        """Store the outcome at once, before the reply leaves.

        Raises:
            AuditUnavailable: it cannot be stored.

        """
        ...

    def end(self, call: AuditedCall) -> None:
        """Record how a call ended, with or without an intent."""
        ...


class _Write(NamedTuple):
    document: str
    project: str
    update: Document
    entry: Document
    outcome: AuditOutcome.ValueType


class MongoAuditTrail:
    """Implements `AuditTrail`; a component, which stops after all that serves and before the relay."""

    name = "audit"

    def __init__(
        self,
        collection: Collection,
        *,
        service: str,
        enqueue: Callable[[NewEvents], None],
        hold: timedelta,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._collection = collection
        self._service = service
        self._enqueue = enqueue
        self._hold = hold
        self._now = now
        self._swept = self._ends_from = now()
        self._running: dict[str, str] = {}
        self._waiting: deque[_Write] = deque()
        self._more = asyncio.Event()
        self._refusals = Refusals()
        self._worker = Worker(self.name, self._run)
        self._intents = Batched(self._begin_all)

    async def ensure_indexes(self) -> None:
        """Create what the sweeps need."""
        with translated():
            await self._collection.create_index([("outbox_at", 1), ("_id", 1)], partialFilterExpression=WITH_EVENTS)
            await self._collection.create_index("hold_until", sparse=True)

    async def start(self) -> None:
        """Begin to write what waits, and to sweep."""
        await self._worker.start()

    async def wait(self) -> None:
        """See `Watched`."""
        await self._worker.wait()

    async def stop(self) -> None:
        """Write what waits, if the store takes it; the rest is found as intents by the next process."""
        await self._worker.stop()
        self._count_refusals()
        try:
            async with asyncio.timeout(_LAST_TRY_S):
                while self._waiting:
                    await self._write_some()
        except (TidemillError, TimeoutError) as error:
            _log.warning("audit_outcomes_left", number=len(self._waiting), why=str(error))

    async def begin(self, call: AuditedCall) -> None:
        """See `AuditTrail`."""
        document = _id(call.project, call.id)
        record = call.record(self._service, end_time=None)
        # Registered first: also of an insert that was cut off the document may be there.
        self._running[call.id] = document
        call.begun = False
        intent = {
            "_id": document,
            "project": call.project or INSTALLATION,
            "hold_until": self._now() + self._hold,
            "record": record.SerializeToString(),
        }
        try:
            await self._intents(intent)
        except DependencyUnavailable as error:
            raise AuditUnavailable from error
        call.begun = True

    async def _begin_all(self, intents: Sequence[Document]) -> Sequence[None]:
        """Store the intents of calls that begin at the same time by one command.

        A taken id is of a call whose caller left meanwhile and whose outcome is stored: it refuses none of the others.
        """
        await insert_new(self._collection, intents)
        return [None] * len(intents)

    async def finish(self, call: AuditedCall) -> None:
        """See `AuditTrail`."""
        write = self._outcome(call)
        try:
            await self._store([write])
        except DependencyUnavailable as error:
            raise AuditUnavailable from error
        call.recorded = True

    def end(self, call: AuditedCall) -> None:
        """See `AuditTrail`."""
        if call.recorded:
            return
        if call.id in self._running or self._refusals.has_own_record(call):
            self._add(call)

    def _add(self, call: AuditedCall) -> None:
        if len(self._waiting) >= MAX_WAITING:
            LOST.inc()
            self._running.pop(call.id, None)
            return
        self._waiting.append(self._outcome(call))
        self._more.set()

    def _outcome(self, call: AuditedCall) -> _Write:
        return self._written(call.record(self._service, end_time=max(call.begin_time, self._now())))

    def _written(self, record: AuditRecord, *event: str) -> _Write:
        """Return what stores a record; `event` sets its event apart from the one of the call's outcome."""
        document, project, now = _id(record.project, record.id), record.project or INSTALLATION, self._now()
        data = MessageToJson(
            AuditRecorded(record=record, seq=1),
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
            indent=None,
        )
        entry = {
            "seq": 1,
            "ce_id": derived_id(f"/tidemill/{self._service}", COLLECTION, record.project, record.id, *event),
            "type": RECORDED,
            "source": f"/tidemill/{self._service}",
            "subject": record.id,
            "time": now,
            "topic": TOPIC,
            "key": project,  # of one project in one partition: one consumer alone appends to its chain
            "data": data,
            "traceparent": traceparent(),
        }
        update = {
            "$set": {"project": project, "outbox": [entry], "outbox_at": now},
            "$unset": {"hold_until": "", "record": ""},
        }
        return _Write(document, project, update, entry, record.outcome)

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._write())
            tasks.create_task(self._sweep())

    async def _write(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            await self._more.wait()
            try:
                await self._write_some()
                pause_s = _FIRST_PAUSE_S
            except DependencyUnavailable as error:
                _log.warning("audit_outcomes_wait", number=len(self._waiting), why=error.message)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _write_some(self) -> None:
        writes = [self._waiting[index] for index in range(min(_BATCH, len(self._waiting)))]
        if writes:
            await self._store(writes)
        for _ in writes:
            self._waiting.popleft()
        if not self._waiting:
            self._more.clear()

    async def _store(self, writes: Sequence[_Write]) -> None:
        with translated():
            await update_each(self._collection, [({"_id": each.document}, each.update) for each in writes])
        for each in writes:
            self._running.pop(each.entry["subject"], None)
            self._published(each)

    def _published(self, write: _Write) -> None:
        RECORDS.labels(_name(write.outcome)).inc()
        self._enqueue(NewEvents(document_id=write.document, project=write.project, entries=[write.entry]))

    async def _sweep(self) -> None:
        """Hold the intents of calls that run here, and end those of processes that are gone."""
        pause_s = min(_MAX_SWEEP_S, self._hold.total_seconds() / _SWEEPS_PER_HOLD)
        while True:
            try:
                await self.sweep()
            except DependencyUnavailable as error:
                _log.warning("audit_sweep_failed", why=error.message)
            await asyncio.sleep(pause_s)

    async def sweep(self) -> None:
        """Do it once.

        After a pause, as while the store does not answer, others may be about to hold theirs: they get the time for it.

        Raises:
            DependencyUnavailable: the store does not answer.

        """
        self._count_refusals()
        now, running = self._now(), list(self._running.values())
        if now - self._swept > self._hold / 2:
            self._ends_from = now + self._hold
        with translated():
            for begin in range(0, len(running), _BATCH):
                held = {"_id": {"$in": running[begin : begin + _BATCH]}, "hold_until": {"$exists": True}}
                await self._collection.update_many(held, {"$set": {"hold_until": now + self._hold}})
        self._swept = now
        if now < self._ends_from:
            return
        with translated():
            left = await self._collection.find({"hold_until": {"$lt": now}}).limit(_BATCH).to_list(None)
        for document in left:
            write = self._written(AuditRecord.FromString(document["record"]), _UNKNOWN)
            with translated():
                ended = await self._collection.update_one(
                    {"_id": document["_id"], "hold_until": {"$lt": now}}, write.update
                )
            if ended.modified_count:
                _log.warning("audit_outcome_unknown", call=write.entry["subject"])
                self._published(write)

    def _count_refusals(self) -> None:
        for call in self._refusals.counted():
            self._add(call)


def _id(project: str, call: str) -> str:
    return document_id(project or INSTALLATION, call)


def _name(outcome: AuditOutcome.ValueType) -> str:
    return AuditOutcome.Name(outcome).removeprefix("AUDIT_OUTCOME_").lower()
