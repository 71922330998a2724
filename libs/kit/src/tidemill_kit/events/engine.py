"""What happens to records, independent of their source.

Records are decoded one by one, put into queues by subject, and handled: queues concurrently, each queue in order. A
record is done when it had its effect, was passed over, or lies in the dead letters.
"""

import asyncio
import collections
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import structlog
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client import Counter, Histogram

from tidemill_core.errors import Internal, InvalidInput, TidemillError, Violation, isolated
from tidemill_kit.events.bodies import InvalidBody, body_of
from tidemill_kit.events.cloudevents import CloudEvent, InvalidEvent, from_record
from tidemill_kit.events.dead_letters import dead_letter, without_value
from tidemill_kit.events.records import UNREADABLE, Publishing, Record, RecordRefused
from tidemill_kit.events.retry import EngineLimits, PartitionRevoked, RetryPolicy
from tidemill_kit.events.subscriptions import Delivery, EventContext, Refusal, Subscription
from tidemill_kit.events.window import PendingRecord, Window, WindowLimits
from tidemill_kit.runtime import telemetry
from tidemill_kit.runtime.logging import event_facts
from tidemill_kit.workers.fair_share import Turn, Turns

EVENTS = Counter("tidemill_events", "Records consumed, by outcome.", ["consumer", "type", "outcome"])
SECONDS = Histogram("tidemill_event_seconds", "From taking an event up to its outcome.", ["consumer", "type"])
DEAD_LETTERS = Counter("tidemill_dead_letters", "Records put into the dead letters.", ["consumer", "reason"])

_REPORT_INTERVAL_S = 10.0
_SLOW_S = 5.0
"""A success that took longer has a line of its own."""

MAX_UNCOMMITTED = 40
"""Events of one queue whose effects must happen once and that are not committed yet: fewer than an aggregate remembers
requests, so that it knows every one of them again after a crash."""

_LAST_SECOND = datetime(9999, 12, 31, tzinfo=UTC).timestamp()

_log = structlog.get_logger()


class Engine:
    """Handles a subscription's records; transport and commits are the consumer's."""

    def __init__(
        self,
        subscription: Subscription,
        *,
        dead_letters: Publishing,
        limits: EngineLimits | None = None,
        deleted: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """Prepare; `deleted` says of a project that it was deleted."""
        self.subscription = subscription
        self._deleted = deleted
        self.limits = limits or EngineLimits()
        self.handled = 0
        self.dead_lettered = 0
        self._dead_letters = dead_letters
        self._waiting: dict[RetryPolicy, str] = {}
        self._turns = Turns(self.limits.concurrency)
        self._counters: dict[tuple[str, str], Counter] = {}
        self._seconds: dict[str, Histogram] = {}
        self._quiet = collections.Counter[str]()
        self._reported_at = 0.0
        self._log = _log.bind()  # made once: the lazy logger would be made anew for each line

    @property
    def waiting_for(self) -> str:
        """The dependency that holds some event up, or ""."""
        return next(iter(self._waiting.values()), "")

    def window(self, limits: WindowLimits | None = None) -> Window:
        """Return a new window for what is read from now on."""
        once = self.subscription.delivery is Delivery.ONCE
        limits = replace(limits or WindowLimits(), uncommitted_per_key=MAX_UNCOMMITTED if once else None)
        return Window(process=self._process, turns=self._turns, limits=limits)

    def take(self, records: Sequence[Record]) -> Window:
        """Return a new window that has these records in hand."""
        window = self.window()
        window.add(self.pending_records(records))
        return window

    def pending_records(self, records: Sequence[Record]) -> Sequence[PendingRecord]:
        """Return the records as a window takes them; what nothing is to be done with is done."""
        return [self._placed(_decoded(record, self.subscription.check_size)) for record in records]

    def report_handled(self, *, now: bool = False) -> None:
        """Log how many events were handled since the last such line, unless that was a moment ago."""
        if self._quiet and (now or time.monotonic() - self._reported_at > _REPORT_INTERVAL_S):
            types = dict(sorted(self._quiet.items()))
            self._log.info("events_handled", consumer=self.subscription.name, events=sum(types.values()), types=types)
            self._quiet.clear()
            self._reported_at = time.monotonic()

    def _placed(self, pending_record: PendingRecord) -> PendingRecord:
        event, record, subscription = pending_record.event, pending_record.record, self.subscription
        if event is None:
            pending_record.key = record.topic, record.partition, record.offset
        elif event.type not in subscription.routes:
            self._count("", "unknown")  # no label from outside: there is no end of unknown types
        elif self._passes_over(event):
            self._drop(event)
        else:
            subject = record.topic, event.project, event.source, event.subject
            pending_record.key = (event.project, subscription.order_by(event)) if subscription.order_by else subject
            pending_record.replaces = subject if subscription.delivery is Delivery.LATEST else None
        return pending_record

    async def _process(self, pending_record: PendingRecord, revoked: asyncio.Event, turn: Turn) -> None:
        """Bring one record to its end.

        Raises:
            PartitionRevoked: its partition was taken away while it waited.

        """
        event_facts.set(partial(_facts, self.subscription.name, pending_record))
        if pending_record.event is None:
            await self._process_recorded(pending_record, revoked, turn)
        elif pending_record.superseded:
            self._count(pending_record.event.type, "superseded")
        elif self._passes_over(pending_record.event):
            self._drop(pending_record.event)
        else:
            with telemetry.span(
                f"{self.subscription.name} {pending_record.event.type}",
                parent=pending_record.event.traceparent,
                kind=SpanKind.CONSUMER,
                **{"messaging.system": "kafka", "cloudevents.event_id": pending_record.event.id},
            ) as span:
                if not await self._process_recorded(pending_record, revoked, turn):
                    span.set_status(StatusCode.ERROR)

    async def _process_recorded(self, pending_record: PendingRecord, revoked: asyncio.Event, turn: Turn) -> bool:
        """Handle the record, or else put it into the dead letters and report it; return whether it was handled."""
        event, started = pending_record.event, time.perf_counter()
        retries = RetryPolicy(self.limits, revoked, self._waiting, turn)
        error = unproven = await self._unproven(pending_record, retries)
        error = error or pending_record.error
        if event is not None and error is None:
            error = await self._handle(event, pending_record, retries)
        attempts = retries.attempts
        if error is not None:
            # Its publisher is unknown, and must not have anything stored in the name of what it says.
            reported = unproven is None and (event is not None or self.subscription.verify is None)
            await self._refuse(pending_record, error, retries, report=reported)
            pending_record.refused = True
        duration_s = time.perf_counter() - started
        ce_type = event.type if event else ""
        quiet = error is None and attempts == 1 and duration_s <= _SLOW_S
        if quiet:
            self._quiet[ce_type] += 1
        if not quiet or self._log.is_enabled_for(logging.DEBUG):
            self._log_handled(error, duration_s=duration_s, attempts=attempts, quiet=quiet)
        self._count(ce_type, "dead_lettered" if error else "handled")
        self._seconds_of(ce_type).observe(duration_s)
        return error is None

    async def _unproven(self, pending_record: PendingRecord, retries: RetryPolicy) -> TidemillError | None:
        """Return why a record does not prove who published it."""
        verify, event = self.subscription.verify, pending_record.event
        if verify is None or event is None:
            return None
        try:
            with isolated():
                await retries.until_done(lambda: verify(event, pending_record.record))
        except PartitionRevoked:
            raise
        except TidemillError as error:
            return error
        except Exception as error:  # noqa: BLE001 - whatever it is, the record is not proven, and the others go on
            _log.error("event_not_verified", exc_info=error)
            return Internal(f"{type(error).__name__} while it was verified; the service's log has more")
        return None

    def _log_handled(self, error: TidemillError | None, *, duration_s: float, attempts: int, quiet: bool) -> None:
        facts = {"duration_ms": round(duration_s * 1000, 1), "attempts": attempts}
        if error is not None:
            self._log.warning("event_handled", outcome="dead_lettered", reason=error.reason, **facts)
        elif quiet:
            self._log.debug("event_handled", outcome="handled", **facts)
        else:
            self._log.info("event_handled", outcome="handled", **facts)

    async def _handle(
        self, event: CloudEvent, pending_record: PendingRecord, retries: RetryPolicy
    ) -> TidemillError | None:
        """Run the handler until it succeeds or there is no hope; return why it did not."""
        route = self.subscription.routes[event.type]
        try:
            with isolated():
                body = body_of(route.model, event.data)
        except InvalidBody as error:
            return error
        except Exception as error:  # noqa: BLE001 - such as a panic of the parser, which would repeat without end
            _log.error("event_body_unreadable", exc_info=error)
            return InvalidBody.at(field="body", text=f"cannot be read ({type(error).__name__}): publish it again")
        context = _context(event, pending_record)

        async def handle() -> None:  # what waited for a dependency may be of a project that was deleted meanwhile
            if not self._passes_over(event):
                await route.handle(context, body)

        try:
            with isolated():
                await retries.until_done(handle)
        except PartitionRevoked:
            raise
        except TidemillError as error:
            # No dead letter keeps what is erased: what the handler needed may be gone with its project.
            return None if self._passes_over(event) else error
        except Exception as error:  # noqa: BLE001 - whatever a handler raises, the other events go on
            _log.error("event_handler_failed", exc_info=error)
            message = f"{type(error).__name__} in the handler, {retries.attempts} times; the service's log has more"
            return Internal(message)
        return None

    async def _refuse(
        self, pending_record: PendingRecord, error: TidemillError, retries: RetryPolicy, *, report: bool
    ) -> None:
        """Report the refusal to the subscription, then write the dead letter, however long that takes."""
        attempts = retries.attempts
        refused = self.subscription.refused if report else None
        if refused is not None:
            refusal = _refusal(pending_record, error)
            try:
                with isolated():
                    await retries.until_done(lambda: refused(refusal))
            except PartitionRevoked:
                raise
            except Exception as failure:  # noqa: BLE001 - the dead letter below keeps what could not be reported
                _log.error("dead_letter_callback_failed", exc_info=failure)
        letter = dead_letter(
            pending_record.record,
            topic=self.subscription.dead_letter_topic,
            consumer=self.subscription.name,
            error=error,
            attempts=attempts,
        )
        try:
            await retries.until_done(lambda: self._dead_letters.publish(letter))
        except RecordRefused:
            bare = without_value(letter)
            await retries.until_done(lambda: self._dead_letters.publish(bare))
        DEAD_LETTERS.labels(self.subscription.name, error.reason).inc()
        self.dead_lettered += 1

    def _passes_over(self, event: CloudEvent) -> bool:
        """Return whether an event would bring back what is erased: its project was deleted."""
        return not self.subscription.of_deleted and self._deleted(event.project)

    def _drop(self, event: CloudEvent) -> None:
        self._log.debug("event_dropped", consumer=self.subscription.name, project=event.project, why="project deleted")
        self._count(event.type, "dropped")

    def _count(self, ce_type: str, outcome: str) -> None:
        counter = self._counters.get((ce_type, outcome))
        if counter is None:
            counter = self._counters[ce_type, outcome] = EVENTS.labels(self.subscription.name, ce_type, outcome)
        counter.inc()
        self.handled += 1

    def _seconds_of(self, ce_type: str) -> Histogram:
        seconds = self._seconds.get(ce_type)
        if seconds is None:
            seconds = self._seconds[ce_type] = SECONDS.labels(self.subscription.name, ce_type)
        return seconds


def _decoded(record: Record, check_size: Callable[[int], None] | None) -> PendingRecord:
    """Read a record; whatever is wrong with it is its own failure, or one record would hold up all others."""
    if not record.value and (why := dict(record.headers).get(UNREADABLE)):
        violation = Violation(field="record", description=why.decode(errors="replace"))
        return PendingRecord(record=record, error=InvalidEvent(violation, attributes={}))
    value, too_large = record.value, None
    try:
        if check_size is not None:
            check_size(len(value or b""))
    except InvalidInput as error:
        value, too_large = b"{}", error  # its headers are enough to refuse it by name
    try:
        with isolated():
            event = from_record(value, record.headers, arrive_time=_arrive_time(record))
    except InvalidEvent as error:
        return PendingRecord(record=record, error=too_large or error)
    except Exception as error:  # noqa: BLE001 - see above
        violation = Violation(field="record", description=f"cannot be read ({type(error).__name__}): publish it again")
        return PendingRecord(record=record, error=InvalidEvent(violation, attributes={}))
    return PendingRecord(record=record, event=event, error=too_large)


def _arrive_time(record: Record) -> datetime:
    """Return when the record arrived, as its producer says; the last time that there is for what lies beyond."""
    return datetime.fromtimestamp(min(max(record.timestamp, 0) / 1000, _LAST_SECOND), UTC)


def _facts(consumer: str, pending_record: PendingRecord) -> dict[str, object]:
    record, event = pending_record.record, pending_record.event
    place = {"consumer": consumer, "topic": record.topic, "partition": record.partition, "offset": record.offset}
    if event is None:
        return place
    return place | {"event_id": event.id, "event_type": event.type, "project": event.project, "seq": event.seq}


def _context(event: CloudEvent, pending_record: PendingRecord) -> EventContext:
    record = pending_record.record
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
        data=event.data,
        supersedes=pending_record.supersedes,
    )


def _refusal(pending_record: PendingRecord, error: TidemillError) -> Refusal:
    event, known = (
        pending_record.event,
        pending_record.error.attributes if isinstance(pending_record.error, InvalidEvent) else {},
    )
    names = ("id", "source", "type", "subject", "project")
    return Refusal(
        **{name: getattr(event, name) if event else known.get(name, "") for name in names},
        topic=pending_record.record.topic,
        partition=pending_record.record.partition,
        offset=pending_record.record.offset,
        error=error,
    )
