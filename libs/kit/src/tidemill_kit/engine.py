"""What happens to the records of one poll, whoever polls.

Records are decoded one by one, put into lanes by subject, and handled: lanes concurrently, each lane in order. A record
is done when it had its effect, was passed over, or lies in the dead letters; what is done without gap may be committed.
"""

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client import Counter, Histogram
from pydantic import BaseModel, ValidationError

from tidemill_kit import telemetry
from tidemill_kit.application import Request, derived_id
from tidemill_kit.cloudevents import CloudEvent, InvalidEvent, from_record
from tidemill_kit.dead_letters import dead_letter, without_value
from tidemill_kit.errors import Internal, InvalidInput, TidemillError, Violation, isolated
from tidemill_kit.persistence import EngineLimits, Persistence, Released
from tidemill_kit.records import Partition, Publishing, Record, RecordRefused
from tidemill_kit.subscriptions import Delivery, EventContext, Refusal, Subscription

EVENTS = Counter("tidemill_events", "Records taken, by what became of them.", ["consumer", "type", "outcome"])
SECONDS = Histogram("tidemill_event_seconds", "From taking an event up to its outcome.", ["consumer", "type"])
DEAD_LETTERS = Counter("tidemill_dead_letters", "Records put into the dead letters.", ["consumer", "reason"])

_TOLD_VIOLATIONS = 20
_CANCEL_S = 5.0

_LAST_SECOND = datetime(9999, 12, 31, tzinfo=UTC).timestamp()

_log = structlog.get_logger()


class InvalidBody(InvalidInput):
    """An event's body is not what its type promises."""

    reason = "INVALID_BODY"


@dataclass(slots=True, kw_only=True, eq=False)
class _Slot:
    """A record's place in its partition."""

    record: Record
    event: CloudEvent | None = None
    error: InvalidEvent | None = None
    superseded: bool = False
    done: bool = False


class Engine:
    """Handles a subscription's records; transport and commits are the pump's."""

    def __init__(
        self, subscription: Subscription, *, dead_letters: Publishing, limits: EngineLimits | None = None
    ) -> None:
        self.subscription = subscription
        self.limits = limits or EngineLimits()
        self.handled = 0
        self.dead_lettered = 0
        self._dead_letters = dead_letters
        self._waiting: dict[Persistence, str] = {}
        self._log = _log.bind()  # made once: the lazy logger would be made anew for each line

    @property
    def waiting_for(self) -> str:
        """The dependency that holds some event up, or ""."""
        return next(iter(self._waiting.values()), "")

    def take(self, records: Sequence[Record]) -> "Batch":
        """Start work on the records, which are in order of offset within each partition."""
        slots = [_decoded(record) for record in records]
        if self.subscription.delivery is Delivery.LATEST:
            _mark_superseded([slot for slot in slots if slot.event and slot.event.type in self.subscription.routes])
        lanes: dict[Hashable, list[_Slot]] = defaultdict(list)
        for slot in slots:
            lanes[self._lane(slot)].append(slot)
        return Batch(slots, list(lanes.values()), settle=self._settle, concurrency=self.limits.concurrency)

    def _lane(self, slot: _Slot) -> Hashable:
        if slot.event is None:
            return slot.record.topic, slot.record.partition, slot.record.offset
        return self.subscription.order_by(slot.event) if self.subscription.order_by else _subject(slot)

    async def _settle(self, slot: _Slot, released: asyncio.Event) -> None:
        """Bring one record to its end.

        Raises:
            Released: its partition was taken away while it waited.

        """
        if slot.event is None:
            await self._settle_noted(slot, released)
        elif slot.event.type not in self.subscription.routes:
            self._count("", "unknown")  # no label from outside: there is no end of unknown types
        elif slot.superseded:
            self._count(slot.event.type, "superseded")
        else:
            with telemetry.span(
                f"{self.subscription.name} {slot.event.type}",
                parent=slot.event.traceparent,
                kind=SpanKind.CONSUMER,
                **{"messaging.system": "kafka", "cloudevents.event_id": slot.event.id},
            ) as span:
                if not await self._settle_noted(slot, released):
                    span.set_status(StatusCode.ERROR)

    async def _settle_noted(self, slot: _Slot, released: asyncio.Event) -> bool:
        """Handle the record, or else put it into the dead letters, and tell so; return whether it was handled."""
        record, event = slot.record, slot.event
        started = time.perf_counter()
        with structlog.contextvars.bound_contextvars(
            consumer=self.subscription.name,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            **(
                {"event_id": event.id, "event_type": event.type, "project": event.project, "seq": event.seq}
                if event
                else {}
            ),
        ):
            persistence = Persistence(self.limits, released, self._waiting)
            error = slot.error if event is None else await self._handle(event, slot.record, persistence)
            attempts = persistence.attempts
            if error is not None:
                await self._refuse(slot, error, persistence)
            duration_s = time.perf_counter() - started
            facts = {"duration_ms": round(duration_s * 1000, 1), "attempts": attempts}
            if error is None:
                self._log.info("event_handled", outcome="handled", **facts)
            else:
                self._log.warning("event_handled", outcome="dead_lettered", reason=error.reason, **facts)
        self._count(event.type if event else "", "dead_lettered" if error else "handled")
        SECONDS.labels(self.subscription.name, event.type if event else "").observe(duration_s)
        return error is None

    async def _handle(self, event: CloudEvent, record: Record, persistence: Persistence) -> TidemillError | None:
        """Run the handler until it succeeds or there is no hope; return why it did not."""
        route = self.subscription.routes[event.type]
        try:
            body: BaseModel = route.model.model_validate_json(event.data)
        except ValidationError as error:
            return _invalid_body(error)
        context = _context(event, record)
        try:
            with isolated():
                await persistence.until_done(lambda: route.handle(context, body))
        except Released:
            raise
        except TidemillError as error:
            return error
        except Exception as error:  # noqa: BLE001 - whatever a handler raises, the other events go on
            _log.error("event_handler_failed", exc_info=error)
            message = f"{type(error).__name__} in the handler, {persistence.attempts} times; the service's log has more"
            return Internal(message)
        return None

    async def _refuse(self, slot: _Slot, error: TidemillError, persistence: Persistence) -> None:
        """Tell who wants to know, then write the dead letter, however long that takes."""
        attempts = persistence.attempts
        refused = self.subscription.refused
        if refused is not None:
            refusal = _refusal(slot, error)
            try:
                with isolated():
                    await persistence.until_done(lambda: refused(refusal))
            except Released:
                raise
            except Exception as failure:  # noqa: BLE001 - the dead letter below keeps what could not be told
                _log.error("event_refusal_not_told", exc_info=failure)
        letter = dead_letter(
            slot.record,
            topic=self.subscription.dead_letter_topic,
            consumer=self.subscription.name,
            error=error,
            attempts=attempts,
        )
        try:
            await persistence.until_done(lambda: self._dead_letters.publish(letter))
        except RecordRefused:
            bare = without_value(letter)
            await persistence.until_done(lambda: self._dead_letters.publish(bare))
        DEAD_LETTERS.labels(self.subscription.name, error.reason).inc()
        self.dead_lettered += 1

    def _count(self, ce_type: str, outcome: str) -> None:
        EVENTS.labels(self.subscription.name, ce_type, outcome).inc()
        self.handled += 1


class Batch:
    """The records of one poll in work."""

    def __init__(
        self,
        slots: Sequence[_Slot],
        lanes: Sequence[Sequence[_Slot]],
        *,
        settle: Callable[[_Slot, asyncio.Event], Awaitable[None]],
        concurrency: int,
    ) -> None:
        self._settle = settle
        self._released = asyncio.Event()
        self._cancelled = False
        self._unfinished: dict[Partition, deque[_Slot]] = defaultdict(deque)
        for slot in slots:
            self._unfinished[Partition(slot.record.topic, slot.record.partition)].append(slot)
        self._ends: dict[Partition, int] = {}
        self._farthest: dict[Partition, int] = defaultdict(lambda: -1)
        self._lanes = deque(lanes)
        self._workers = [asyncio.create_task(self._work()) for _ in range(min(concurrency, len(lanes)))]

    async def wait(self, timeout_s: float) -> bool:
        """Wait for the end of the work; return whether it has come."""
        _, running = await asyncio.wait(self._workers, timeout=timeout_s)
        return not running

    async def release(self, timeout_s: float) -> None:
        """Finish what is begun and what lies before it, so that it can be committed; cancel what takes too long."""
        self._released.set()
        if not await self.wait(timeout_s):
            self._cancelled = True
            for worker in self._workers:
                worker.cancel()
            await self.wait(_CANCEL_S)

    def committable(self) -> Mapping[Partition, int]:
        """Return for each partition the offset to go on from, where everything before is done."""
        for partition, slots in self._unfinished.items():
            while slots and slots[0].done:
                self._ends[partition] = slots.popleft().record.offset + 1
        return self._ends

    def left_over(self) -> Mapping[Partition, int]:
        """Return for each partition the first offset that is not done."""
        self.committable()
        return {partition: slots[0].record.offset for partition, slots in self._unfinished.items() if slots}

    @property
    def failure(self) -> BaseException | None:
        """What broke the engine itself, if anything did."""
        finished = (worker for worker in self._workers if worker.done() and not worker.cancelled())
        return next((error for worker in finished if (error := worker.exception())), None)

    async def _work(self) -> None:
        while self._lanes:
            for slot in self._lanes.popleft():
                partition, offset = Partition(slot.record.topic, slot.record.partition), slot.record.offset
                if self._released.is_set() and offset > self._farthest[partition]:
                    break
                self._farthest[partition] = max(offset, self._farthest[partition])
                try:
                    await self._settle(slot, self._released)
                except Released:
                    break
                except asyncio.CancelledError as error:
                    if self._cancelled:
                        raise
                    message = "something that the handler waited for was cancelled"
                    raise RuntimeError(message) from error
                slot.done = True


def _decoded(record: Record) -> _Slot:
    """Read a record; whatever is wrong with it is its own failure, or one record would hold up all others."""
    try:
        with isolated():
            event = from_record(record.value, record.headers, arrive_time=_arrive_time(record))
    except InvalidEvent as error:
        return _Slot(record=record, error=error)
    except Exception as error:  # noqa: BLE001 - see above
        told = Violation(field="record", description=f"cannot be read ({type(error).__name__}): publish it anew")
        return _Slot(record=record, error=InvalidEvent(told, attributes={}))
    return _Slot(record=record, event=event)


def _arrive_time(record: Record) -> datetime:
    """Return when the record arrived, as its producer says; the last time that there is for what lies beyond."""
    return datetime.fromtimestamp(min(max(record.timestamp, 0) / 1000, _LAST_SECOND), UTC)


def _subject(slot: _Slot) -> Hashable:
    event = slot.event
    return (slot.record.topic, event.project, event.source, event.subject) if event else None


def _mark_superseded(slots: Sequence[_Slot]) -> None:
    """Leave of each subject only the event with the highest number; those without a number stay."""
    newest: dict[Hashable, _Slot] = {}
    for slot in slots:
        if slot.event is None or slot.event.seq is None:
            continue
        known = newest.setdefault(_subject(slot), slot)
        if known is slot or known.event is None or known.event.seq is None:
            continue
        if slot.event.seq > known.event.seq:
            newest[_subject(slot)] = slot
            known.superseded = True
        else:
            slot.superseded = True


def _context(event: CloudEvent, record: Record) -> EventContext:
    return EventContext(
        id=event.id,
        source=event.source,
        type=event.type,
        subject=event.subject,
        project=event.project,
        time=event.time,
        seq=event.seq,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        size=len(record.value or b""),
        request=Request.of(derived_id(event.project, event.source, event.id), event.data),
    )


def _refusal(slot: _Slot, error: TidemillError) -> Refusal:
    event, known = slot.event, slot.error.attributes if slot.error else {}
    names = ("id", "source", "type", "subject", "project")
    return Refusal(
        **{name: getattr(event, name) if event else known.get(name, "") for name in names},
        topic=slot.record.topic,
        partition=slot.record.partition,
        offset=slot.record.offset,
        error=error,
    )


def _invalid_body(error: ValidationError) -> InvalidBody:
    """Return what is wrong, field by field, without any value."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)[:_TOLD_VIOLATIONS]
    violations = [
        Violation(field=".".join(str(part)[:100] for part in problem["loc"]) or "body", description=problem["msg"])
        for problem in problems
    ]
    return InvalidBody("; ".join(f"{v.field}: {v.description}" for v in violations), violations=violations)
