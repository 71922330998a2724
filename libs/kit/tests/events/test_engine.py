"""What becomes of the records of one poll, without a broker."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from prometheus_client import REGISTRY

from libs.kit.tests.events.harness import QUICK, WRITTEN, Effects, FlakyPublisher, Line, StrictLine, event_headers
from tidemill_core.errors import (
    Conflict,
    DependencyTimedOut,
    DependencyUnavailable,
    NotFound,
    Overloaded,
    RateLimited,
    TidemillError,
)
from tidemill_kit.events.engine import MAX_UNCOMMITTED, Engine
from tidemill_kit.events.records import OutgoingRecord, Partition, RecordRefused
from tidemill_kit.events.subscriptions import Delivery, EventContext, Refusal, Route, Subscription
from tidemill_kit.events.window import WindowLimits
from tidemill_kit.runtime import telemetry
from tidemill_testkit.polling import eventually

BEGUN = "tests.line.begun.v1"
TRACE = "0af7651916cd43dd8448eb211c80319c"


@dataclass(frozen=True, kw_only=True)
class Given:
    """A record as a broker would give it."""

    offset: int
    value: bytes | None = b'{"number": 0}'
    headers: Sequence[tuple[str, bytes]] = ()
    topic: str = "tests"
    partition: int = 0
    timestamp: int = 0
    key: bytes | None = b"k"


def line(
    offset: int, number: int, *, subject: str = "kb/1", event_id: str = "", partition: int = 0, **attributes: str
) -> Given:
    headers = event_headers(event_id or f"{subject}-{offset}", subject, **attributes)
    return Given(offset=offset, value=b'{"number": "%d"}' % number, headers=headers, partition=partition)


def numbered(offset: int, seq: int, *, subject: str = "kb/1", event_id: str = "", **attributes: str) -> Given:
    return line(offset, seq, subject=subject, event_id=event_id, partition=0, sequence=str(seq), **attributes)


@dataclass
class Harness:
    effects: Effects = field(default_factory=Effects)
    publisher: FlakyPublisher = field(default_factory=lambda: FlakyPublisher(failures=0))
    refusals: list[Refusal] = field(default_factory=list)
    raised: list[BaseException] = field(default_factory=list)
    delivery: Delivery = Delivery.ONCE

    def engine(self) -> Engine:
        async def handle(context: EventContext, body: Line) -> None:
            if self.raised:
                raise self.raised.pop(0)
            await self.effects.write(context, body)

        async def refused(refusal: Refusal) -> None:
            self.refusals.append(refusal)

        subscription = Subscription(
            name="tests.engine",
            topics=("tests",),
            delivery=self.delivery,
            routes={WRITTEN: Route(Line, handle)},
            refused=refused,
        )
        return Engine(subscription, dead_letters=self.publisher, limits=QUICK)

    async def handle(self, *records: Given) -> Engine:
        engine = self.engine()
        window = engine.take(records)
        assert await window.wait(10)
        assert window.left_over() == {}
        return engine

    @property
    def reasons(self) -> list[str]:
        return [dict(record.headers)["tidemill_dead_reason"].decode() for record in self.publisher.published]


async def test_subjects_run_at_the_same_time_and_each_in_order() -> None:
    running, maximum = 0, 0
    seen: list[tuple[str, int]] = []

    async def handle(context: EventContext, body: Line) -> None:
        nonlocal running, maximum
        running += 1
        maximum = max(maximum, running)
        await asyncio.sleep(0.001 * (3 - body.number // 50 % 4))  # later ones would overtake, if they could
        seen.append((context.subject, body.number))
        running -= 1

    routes = {WRITTEN: Route(Line, handle)}
    subscription = Subscription(name="tests.lanes", topics=("tests",), delivery=Delivery.ONCE, routes=routes)
    engine = Engine(subscription, dead_letters=FlakyPublisher(failures=0), limits=QUICK)
    window = engine.take(
        [line(offset, offset, subject=f"kb/{offset % 50}", project=f"p{offset % 2}") for offset in range(500)]
    )
    assert await window.wait(20)

    assert maximum == QUICK.concurrency
    for subject in range(50):
        assert [number for each, number in seen if each == f"kb/{subject}"] == list(range(subject, 500, 50))
    assert window.committable() == {Partition("tests", 0): 500}


async def test_a_projection_gets_only_the_newest_event_of_a_subject() -> None:
    harness = Harness(delivery=Delivery.LATEST)
    engine = await harness.handle(
        numbered(0, 1),
        numbered(1, 2),
        numbered(2, 3, subject="kb/2"),
        numbered(3, 1, project="other"),
        numbered(4, 4),
        numbered(5, 3),
        numbered(6, 4, event_id="again"),
        numbered(7, 9, type="tests.line.unknown.v1"),
        line(8, 8, subject="unnumbered"),
        line(9, 9, subject="unnumbered"),
    )
    assert sorted(harness.effects.happened) == [
        ("", "kb/1", 1),
        ("", "kb/1", 4),
        ("", "kb/2", 3),
        ("", "unnumbered", 8),
        ("", "unnumbered", 9),
    ]
    assert engine.handled == 10
    assert _events(outcome="superseded") == 4


async def test_unknown_types_are_counted_and_passed_over() -> None:
    before = _events(outcome="unknown", ce_type="")
    harness = Harness()
    await harness.handle(line(0, 0, type="tests.line.unheard.v1"), line(1, 1))

    assert harness.effects.numbers == [1]
    assert harness.publisher.published == []
    assert _events(outcome="unknown", ce_type="") == before + 1


@pytest.mark.parametrize(
    "error",
    [
        DependencyUnavailable("it is down", dependency="trainer"),
        DependencyTimedOut("it hangs", dependency="trainer"),
        RateLimited("slowly", retry_after_s=0.01),
        Overloaded("slowly", retry_after_s=0.01),
    ],
)
async def test_what_passes_by_itself_is_waited_for_however_often_it_fails(error: Exception) -> None:
    harness = Harness(raised=[error for _ in range(4 * QUICK.attempts)])
    await harness.handle(line(0, 0))

    assert harness.effects.numbers == [0]
    assert harness.reasons == []


@pytest.mark.parametrize("error", [Conflict("somebody was faster"), OSError("broken pipe")])
async def test_what_may_pass_is_tried_a_few_times(error: Exception) -> None:
    patient = Harness(raised=[error, error])
    await patient.handle(line(0, 0))
    assert patient.effects.numbers == [0]

    hopeless = Harness(raised=[error, error, error])
    await hopeless.handle(line(0, 0), line(1, 1))
    assert hopeless.effects.numbers == [1]
    assert hopeless.reasons == [error.reason if isinstance(error, TidemillError) else "INTERNAL"]


async def test_a_handler_in_which_native_code_panics_ends_its_own_event_only() -> None:
    class PanicException(BaseException):
        pass

    harness = Harness(raised=[PanicException(), PanicException(), PanicException()])
    await harness.handle(line(0, 0), line(1, 1))

    assert harness.effects.numbers == [1]
    assert harness.reasons == ["INTERNAL"]


async def test_what_cannot_pass_is_dead_lettered_at_once_after_it_was_reported() -> None:
    harness = Harness(raised=[NotFound("there is no source kb in this project")])
    await harness.handle(line(0, 0, event_id="e0"))

    (refusal,) = harness.refusals
    assert refusal.named
    assert (refusal.id, refusal.subject, refusal.project, refusal.error.reason) == ("e0", "kb/1", "acme", "NOT_FOUND")
    (letter,) = harness.publisher.published
    assert letter.topic == "tidemill.tests.engine.dead.v1"
    headers = {name: value.decode() for name, value in letter.headers if name.startswith("tidemill_dead_")}
    headers.pop("tidemill_dead_time")
    assert headers == {
        "tidemill_dead_consumer": "tests.engine",
        "tidemill_dead_reason": "NOT_FOUND",
        "tidemill_dead_message": "there is no source kb in this project",
        "tidemill_dead_topic": "tests",
        "tidemill_dead_partition": "0",
        "tidemill_dead_offset": "0",
        "tidemill_dead_attempts": "1",
    }


async def test_a_refusal_names_what_could_be_read() -> None:
    harness = Harness()
    without_type = [header for header in event_headers("e0", "kb/1") if header[0] != "ce_type"]
    without_project = [header for header in event_headers("e1", "kb/1") if header[0] != "ce_project"]
    await harness.handle(Given(offset=0, headers=without_type), Given(offset=1, headers=without_project))

    assert sorted((refusal.id, refusal.named) for refusal in harness.refusals) == [("e0", True), ("e1", False)]


async def test_a_body_is_refused_by_field_and_never_quoted() -> None:
    harness = Harness()
    await harness.handle(
        Given(offset=0, value=b'{"number": "secret text"}', headers=event_headers("e0", "kb/1")),
        Given(offset=1, value=b"\xff\xfe", headers=event_headers("e1", "kb/1")),
        Given(offset=2, value=b"[" * 100_000, headers=event_headers("e2", "kb/1")),
    )

    assert harness.reasons == ["INVALID_BODY"] * 3
    message = dict(harness.publisher.published[0].headers)["tidemill_dead_message"].decode()
    assert message.startswith("number: ")
    assert "secret" not in message


async def test_the_name_of_an_unknown_field_is_reported_only_if_it_is_a_name() -> None:
    effects, publisher = Effects(), FlakyPublisher(failures=0)
    routes = {WRITTEN: Route(StrictLine, effects.write)}
    subscription = Subscription(
        name="tests.names", topics=("tests",), delivery=Delivery.ONCE, routes=routes, strict=True
    )
    engine = Engine(subscription, dead_letters=publisher, limits=QUICK)
    body = b'{"colour": 1, "jane.roe@example.com": 1, "+49 151 1234": 1}'
    assert await engine.take([Given(offset=0, value=body, headers=event_headers("e", "s"))]).wait(5)

    message = dict(publisher.published[0].headers)["tidemill_dead_message"].decode()
    assert "colour: " in message
    assert "<20 characters, sha256 " in message
    assert "jane" not in message
    assert "151" not in message


async def test_numbers_come_as_text_and_unknown_fields_pass_unless_the_subscription_is_strict() -> None:
    harness = Harness()
    await harness.handle(
        Given(offset=0, value=b'{"number": "9007199254740993", "new": 1}', headers=event_headers("e", "s"))
    )
    assert harness.effects.numbers == [9007199254740993]

    with pytest.raises(ValueError, match="strict"):
        Subscription(
            name="tests.strict",
            topics=("tests",),
            delivery=Delivery.ONCE,
            routes={WRITTEN: Route(StrictLine, harness.effects.write)},
        )


async def test_a_dead_letter_is_written_in_the_end_however_often_that_fails() -> None:
    harness = Harness(publisher=FlakyPublisher(failures=20))
    await harness.handle(Given(offset=0, value=b"{", headers=event_headers("e0", "kb/1")))

    assert harness.reasons == ["INVALID_BODY"]


async def test_while_a_dependency_is_down_the_record_waits_and_is_let_go_at_once() -> None:
    down = DependencyUnavailable("MongoDB does not answer", dependency="mongodb")
    harness = Harness(raised=[down] * 1000)
    engine = harness.engine()
    window = engine.take([line(0, 0), line(1, 1)])
    await eventually(lambda: engine.waiting_for == "mongodb")

    await window.release(5)

    assert engine.waiting_for == ""
    assert window.committable() == {}
    assert window.left_over() == {Partition("tests", 0): 0}
    assert harness.publisher.published == []


async def test_letting_go_finishes_what_lies_before_something_done() -> None:
    gate, begun = asyncio.Event(), asyncio.Event()
    numbers: list[int] = []

    async def handle(_: EventContext, body: Line) -> None:
        if body.number == 0:
            begun.set()
            await gate.wait()
        numbers.append(body.number)

    routes = {WRITTEN: Route(Line, handle)}
    subscription = Subscription(name="tests.gaps", topics=("tests",), delivery=Delivery.ONCE, routes=routes)
    engine = Engine(subscription, dead_letters=FlakyPublisher(failures=0), limits=QUICK)
    slow = [line(0, 0, subject="slow"), line(1, 1, subject="slow"), line(4, 4, subject="slow")]
    window = engine.take([*slow[:2], line(2, 2, subject="b"), line(3, 3, subject="c"), slow[2]])
    await eventually(lambda: numbers == [2, 3])

    releasing = asyncio.create_task(window.release(5))
    gate.set()
    await releasing

    assert numbers == [2, 3, 0, 1]
    assert window.committable() == {Partition("tests", 0): 4}


async def test_a_handler_that_meets_a_cancelled_task_is_run_again_and_its_record_is_not_passed_over() -> None:
    async def handle(context: EventContext, body: Line) -> None:
        runs.append(body.number)
        if runs.count(1) < 2 * QUICK.attempts and body.number == 1:
            shared = asyncio.create_task(asyncio.Event().wait())
            shared.cancel()
            await shared
        await effects.write(context, body)

    runs, effects = list[int](), Effects()
    routes = {WRITTEN: Route(Line, handle)}
    subscription = Subscription(name="tests.cancelled", topics=("tests",), delivery=Delivery.ONCE, routes=routes)
    engine = Engine(subscription, dead_letters=FlakyPublisher(failures=0), limits=QUICK)
    window = engine.take([line(0, 0, subject="a"), line(1, 1, subject="b"), line(2, 2, subject="c")])
    await eventually(lambda: engine.waiting_for == "handler")
    assert window.committable() == {Partition("tests", 0): 1}
    assert await window.wait(10)

    assert effects.numbers == [0, 2, 1]
    assert window.committable() == {Partition("tests", 0): 3}


async def test_a_record_at_which_the_engine_itself_fails_is_tried_again() -> None:
    class Failing(FlakyPublisher):
        async def publish(self, record: OutgoingRecord) -> None:
            if self.failures:
                self.failures -= 1
                message = "a defect in our own code"
                raise LookupError(message)
            self.published.append(record)

    publisher = Failing(failures=QUICK.attempts)
    harness = Harness(publisher=publisher)
    engine = harness.engine()
    window = engine.window(WindowLimits(pause_after_failure_s=0.01))
    window.add(engine.pending_records([Given(offset=0, value=b"{", headers=event_headers("e0", "kb/1")), line(1, 1)]))
    assert await window.wait(10)

    assert harness.effects.numbers == [1]
    assert window.committable() == {Partition("tests", 0): 2}
    assert harness.reasons == ["INVALID_BODY"]


async def test_a_record_too_large_for_the_dead_letters_leaves_its_size_and_digest() -> None:
    class Full(FlakyPublisher):
        async def publish(self, record: OutgoingRecord) -> None:
            if record.value:
                message = "too large"
                raise RecordRefused(message)
            self.published.append(record)

    harness = Harness(publisher=Full(failures=0))
    await harness.handle(Given(offset=0, value=b"{" * 1000, headers=event_headers("e0", "kb/1")))

    (letter,) = harness.publisher.published
    reported = dict(letter.headers)
    assert letter.value == b""
    assert (reported["tidemill_dead_value_size"], len(reported["tidemill_dead_value_sha256"])) == (b"1000", 64)


async def test_a_record_that_waits_holds_up_only_its_subject() -> None:
    async def handle(context: EventContext, body: Line) -> None:
        if context.subject == "stuck" and not repaired:
            message = "it is down"
            raise DependencyUnavailable(message, dependency="mongodb")
        await effects.write(context, body)

    repaired, effects = list[bool](), Effects()
    routes = {WRITTEN: Route(Line, handle)}
    subscription = Subscription(name="tests.stuck", topics=("tests",), delivery=Delivery.ONCE, routes=routes)
    engine = Engine(subscription, dead_letters=FlakyPublisher(failures=0), limits=replace(QUICK, concurrency=1))
    window = engine.take([line(0, 0, subject="stuck"), line(1, 1, subject="stuck"), line(2, 2, subject="b")])
    window.add(engine.pending_records([line(0, 10, subject="c", partition=1)]))
    await eventually(lambda: sorted(effects.numbers) == [2, 10])
    window.add(engine.pending_records([line(1, 11, subject="d", partition=1)]))
    await eventually(lambda: effects.numbers[-1] == 11)

    assert window.committable() == {Partition("tests", 1): 2}
    repaired.append(True)
    assert await window.wait(10)
    assert effects.of("stuck") == [0, 1]
    assert window.committable() == {Partition("tests", 0): 3, Partition("tests", 1): 2}


async def test_one_project_leaves_places_for_others() -> None:
    async def handle(context: EventContext, _: Line) -> None:
        begun.append(context.project)
        if context.project == "acme":
            await gate.wait()

    begun, gate = list[str](), asyncio.Event()
    routes = {WRITTEN: Route(Line, handle)}
    subscription = Subscription(name="tests.share", topics=("tests",), delivery=Delivery.ONCE, routes=routes)
    engine = Engine(subscription, dead_letters=FlakyPublisher(failures=0), limits=QUICK)
    slow = [line(offset, offset, subject=f"slow/{offset}") for offset in range(100)]
    window = engine.take([*slow, *(line(100 + each, 0, subject=f"{each}", project="other") for each in range(100))])
    await eventually(lambda: begun.count("other") == 100)

    assert begun.count("acme") == QUICK.concurrency * 3 // 4
    gate.set()
    assert await window.wait(10)


async def test_a_key_queue_begins_no_more_than_is_remembered_until_that_is_committed() -> None:
    harness = Harness()
    engine = harness.engine()
    window = engine.take([*(line(offset, offset) for offset in range(MAX_UNCOMMITTED + 5))])
    assert await window.wait(10)

    assert harness.effects.numbers == list(range(MAX_UNCOMMITTED))
    assert window.hurry.is_set()
    window.committed(window.committable())
    assert await window.wait(10)
    assert harness.effects.numbers == list(range(MAX_UNCOMMITTED + 5))


async def test_a_partition_is_full_until_its_first_record_is_committed() -> None:
    gate = asyncio.Event()

    async def handle(_: EventContext, body: Line) -> None:
        if body.number == 0:
            await gate.wait()

    routes = {WRITTEN: Route(Line, handle)}
    subscription = Subscription(name="tests.full", topics=("tests",), delivery=Delivery.LATEST, routes=routes)
    engine = Engine(subscription, dead_letters=FlakyPublisher(failures=0), limits=QUICK)
    window = engine.window(WindowLimits(records=3, value_bytes=100))
    window.add(engine.pending_records([line(offset, offset, subject=f"{offset}") for offset in range(3)]))
    window.add(engine.pending_records([Given(offset=0, value=b" " * 100, partition=1)]))
    await eventually(lambda: bool(window.committable()))

    assert [window.full(Partition("tests", number)) for number in range(3)] == [True, True, False]
    gate.set()
    assert await window.wait(10)
    window.committed(window.committable())
    assert not any(window.full(Partition("tests", number)) for number in range(3))


async def test_a_projection_learns_what_the_newest_event_stands_for() -> None:
    stood_for = list[frozenset[str]]()

    async def handle(context: EventContext, _: Line) -> None:
        stood_for.append(context.supersedes)

    routes = {WRITTEN: Route(Line, handle), BEGUN: Route(Line, handle)}
    subscription = Subscription(name="tests.for", topics=("tests",), delivery=Delivery.LATEST, routes=routes)
    engine = Engine(subscription, dead_letters=FlakyPublisher(failures=0), limits=QUICK)
    window = engine.take([numbered(0, 1), numbered(1, 2, type=BEGUN), numbered(2, 3)])
    assert await window.wait(10)

    assert stood_for == [frozenset({BEGUN, WRITTEN})]


async def test_what_was_passed_over_is_committed_with_the_event_that_stands_for_it() -> None:
    gate, handled = asyncio.Event(), list[int]()

    async def handle(_: EventContext, body: Line) -> None:
        handled.append(body.number)
        await gate.wait()

    routes = {WRITTEN: Route(Line, handle)}
    subscription = Subscription(name="tests.passed", topics=("tests",), delivery=Delivery.LATEST, routes=routes)
    engine = Engine(subscription, dead_letters=FlakyPublisher(failures=0), limits=QUICK)
    window = engine.take([numbered(0, 1), numbered(1, 3), numbered(2, 2), numbered(3, 4)])
    await eventually(lambda: handled == [4])

    assert window.committable() == {}
    assert window.left_over() == {Partition("tests", 0): 0}
    window.add(engine.pending_records([numbered(4, 4), numbered(5, 6), numbered(6, 5)]))
    gate.set()
    assert await window.wait(10)
    assert handled == [4, 6]
    assert window.committable() == {Partition("tests", 0): 7}


async def test_when_the_newest_event_is_dead_lettered_a_projection_gets_the_one_before_it() -> None:
    harness, stood_for = Harness(), list[frozenset[str]]()

    async def handle(context: EventContext, body: Line) -> None:
        if body.number in {4, 3}:
            message = "there is none"
            raise NotFound(message)
        stood_for.append(context.supersedes)
        await harness.effects.write(context, body)

    routes = {WRITTEN: Route(Line, handle), BEGUN: Route(Line, handle)}
    subscription = Subscription(name="tests.back", topics=("tests",), delivery=Delivery.LATEST, routes=routes)
    engine = Engine(subscription, dead_letters=harness.publisher, limits=QUICK)
    window = engine.take([numbered(0, 1, type=BEGUN), numbered(1, 2), numbered(2, 3), numbered(3, 4)])
    assert await window.wait(10)

    assert harness.effects.numbers == [2]
    assert stood_for == [frozenset({BEGUN})]
    assert len(harness.publisher.published) == 2
    assert window.committable() == {Partition("tests", 0): 4}
    window.committed(window.committable())
    window.add(engine.pending_records([numbered(4, 5)]))
    assert await window.wait(10)
    assert harness.effects.numbers == [2, 5]


async def test_what_comes_after_the_dead_lettered_event_it_was_older_than_is_handled() -> None:
    harness = Harness(delivery=Delivery.LATEST)
    newest = numbered(1, 9)
    harness.raised.append(NotFound("there is none"))
    await harness.handle(
        numbered(0, 2), Given(offset=1, value=b'{"number": "x"}', headers=newest.headers), numbered(2, 3)
    )

    assert harness.reasons == ["INVALID_BODY", "NOT_FOUND"]
    assert harness.effects.numbers == [3]


async def test_an_event_that_stands_in_for_a_dead_letter_holds_its_offset_until_it_is_done() -> None:
    gate, handled = asyncio.Event(), list[int]()

    async def handle(_: EventContext, body: Line) -> None:
        if body.number == 2:
            message = "there is none"
            raise NotFound(message)
        handled.append(body.number)
        await gate.wait()

    routes = {WRITTEN: Route(Line, handle)}
    subscription = Subscription(name="tests.stand", topics=("tests",), delivery=Delivery.LATEST, routes=routes)
    engine = Engine(subscription, dead_letters=FlakyPublisher(failures=0), limits=QUICK)
    window = engine.take([numbered(0, 1), numbered(1, 2)])
    await eventually(lambda: handled == [1])

    assert window.committable() == {}
    gate.set()
    assert await window.wait(10)
    assert window.committable() == {Partition("tests", 0): 2}


async def test_nothing_is_begun_after_the_partition_was_let_go() -> None:
    gate, handled = asyncio.Event(), list[int]()

    async def handle(_: EventContext, body: Line) -> None:
        if body.number == 1:
            await gate.wait()
        handled.append(body.number)

    routes = {WRITTEN: Route(Line, handle)}
    subscription = Subscription(name="tests.late", topics=("tests",), delivery=Delivery.ONCE, routes=routes)
    engine = Engine(subscription, dead_letters=FlakyPublisher(failures=0), limits=QUICK)
    slow = [line(offset, offset, subject="slow") for offset in range(3)]
    many = [line(3 + each, 3 + each, subject="many") for each in range(MAX_UNCOMMITTED + 1)]
    window = engine.take([*slow, *many, line(100, 100, subject="last")])
    before_last = [0, *range(3, 3 + MAX_UNCOMMITTED), 100]
    await eventually(lambda: sorted(handled) == before_last)

    await window.release(0)
    window.committed(window.committable())
    gate.set()
    assert await window.wait(10)

    assert sorted(handled) == before_last
    assert window.left_over() == {Partition("tests", 0): 1}


async def test_what_has_not_begun_when_the_partition_is_let_go_is_not_waited_for() -> None:
    harness = Harness()
    window = harness.engine().take([line(0, 0)])

    begun = time.process_time()
    await window.release(0)

    assert await window.wait(0)
    assert time.process_time() - begun < 2.0
    assert harness.effects.numbers == []
    assert window.left_over() == {Partition("tests", 0): 0}


async def test_the_trace_of_the_record_goes_on_in_the_handler() -> None:
    traces: list[str] = []

    async def handle(_context: EventContext, _body: Line) -> None:
        traces.append(telemetry.trace_id())

    routes = {WRITTEN: Route(Line, handle)}
    subscription = Subscription(name="tests.trace", topics=("tests",), delivery=Delivery.ONCE, routes=routes)
    engine = Engine(subscription, dead_letters=FlakyPublisher(failures=0), limits=QUICK)
    window = engine.take([line(0, 0, traceparent=f"00-{TRACE}-b7ad6b7169203331-01")])
    assert await window.wait(5)

    assert traces == [TRACE]


def _events(*, outcome: str, ce_type: str = WRITTEN) -> float:
    labels = {"consumer": "tests.engine", "type": ce_type, "outcome": outcome}
    return REGISTRY.get_sample_value("tidemill_events_total", labels) or 0
