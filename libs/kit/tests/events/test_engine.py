"""What becomes of the records of one poll, without a broker."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from prometheus_client import REGISTRY

from libs.kit.tests.events.world import (
    QUICK,
    WRITTEN,
    Effects,
    FlakyPublisher,
    Line,
    StrictLine,
    event_headers,
    eventually,
)
from tidemill_kit import telemetry
from tidemill_kit.engine import Engine
from tidemill_kit.errors import (
    Conflict,
    DependencyTimedOut,
    DependencyUnavailable,
    NotFound,
    Overloaded,
    RateLimited,
    TidemillError,
)
from tidemill_kit.records import Partition
from tidemill_kit.subscriptions import Delivery, EventContext, Refusal, Route, Subscription

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


def line(offset: int, number: int, *, subject: str = "kb/1", event_id: str = "", **attributes: str) -> Given:
    headers = event_headers(event_id or f"{subject}-{offset}", subject, **attributes)
    return Given(offset=offset, value=b'{"number": "%d"}' % number, headers=headers)


def numbered(offset: int, seq: int, **attributes: str) -> Given:
    return line(offset, seq, sequence=str(seq), **attributes)


@dataclass
class World:
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
        batch = engine.take(records)
        assert await batch.wait(10)
        assert batch.failure is None
        assert batch.left_over() == {}
        return engine

    @property
    def reasons(self) -> list[str]:
        return [dict(record.headers)["tidemill_dead_reason"].decode() for record in self.publisher.published]


async def test_subjects_run_at_the_same_time_and_each_in_order() -> None:
    running, most = 0, 0
    seen: list[tuple[str, int]] = []

    async def handle(context: EventContext, body: Line) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001 * (3 - body.number // 50 % 4))  # later ones would overtake, if they could
        seen.append((context.subject, body.number))
        running -= 1

    routes = {WRITTEN: Route(Line, handle)}
    subscription = Subscription(name="tests.lanes", topics=("tests",), delivery=Delivery.ONCE, routes=routes)
    engine = Engine(subscription, dead_letters=FlakyPublisher(failures=0), limits=QUICK)
    batch = engine.take([line(offset, offset, subject=f"kb/{offset % 50}") for offset in range(500)])
    assert await batch.wait(20)

    assert most == QUICK.concurrency
    for subject in range(50):
        assert [number for each, number in seen if each == f"kb/{subject}"] == list(range(subject, 500, 50))
    assert batch.committable() == {Partition("tests", 0): 500}


async def test_a_projection_gets_only_the_newest_event_of_a_subject() -> None:
    world = World(delivery=Delivery.LATEST)
    engine = await world.handle(
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
    assert sorted(world.effects.happened) == [
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
    world = World()
    await world.handle(line(0, 0, type="tests.line.unheard.v1"), line(1, 1))

    assert world.effects.numbers == [1]
    assert world.publisher.published == []
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
    world = World(raised=[error for _ in range(4 * QUICK.attempts)])
    await world.handle(line(0, 0))

    assert world.effects.numbers == [0]
    assert world.reasons == []


@pytest.mark.parametrize("error", [Conflict("somebody was faster"), OSError("broken pipe")])
async def test_what_may_pass_is_tried_a_few_times(error: Exception) -> None:
    patient = World(raised=[error, error])
    await patient.handle(line(0, 0))
    assert patient.effects.numbers == [0]

    hopeless = World(raised=[error, error, error])
    await hopeless.handle(line(0, 0), line(1, 1))
    assert hopeless.effects.numbers == [1]
    assert hopeless.reasons == [error.reason if isinstance(error, TidemillError) else "INTERNAL"]


async def test_a_handler_in_which_native_code_panics_ends_its_own_event_only() -> None:
    class PanicException(BaseException):
        pass

    world = World(raised=[PanicException(), PanicException(), PanicException()])
    await world.handle(line(0, 0), line(1, 1))

    assert world.effects.numbers == [1]
    assert world.reasons == ["INTERNAL"]


async def test_what_cannot_pass_is_dead_lettered_at_once_after_it_was_told() -> None:
    world = World(raised=[NotFound("there is no source kb in this project")])
    await world.handle(line(0, 0, event_id="e0"))

    (refusal,) = world.refusals
    assert refusal.named
    assert (refusal.id, refusal.subject, refusal.project, refusal.error.reason) == ("e0", "kb/1", "acme", "NOT_FOUND")
    (letter,) = world.publisher.published
    assert letter.topic == "tidemill.tests.engine.dead.v1"
    told = {name: value.decode() for name, value in letter.headers if name.startswith("tidemill_dead_")}
    told.pop("tidemill_dead_time")
    assert told == {
        "tidemill_dead_consumer": "tests.engine",
        "tidemill_dead_reason": "NOT_FOUND",
        "tidemill_dead_message": "there is no source kb in this project",
        "tidemill_dead_topic": "tests",
        "tidemill_dead_partition": "0",
        "tidemill_dead_offset": "0",
        "tidemill_dead_attempts": "1",
    }


async def test_a_refusal_names_what_could_be_read() -> None:
    world = World()
    without_type = [header for header in event_headers("e0", "kb/1") if header[0] != "ce_type"]
    without_project = [header for header in event_headers("e1", "kb/1") if header[0] != "ce_project"]
    await world.handle(Given(offset=0, headers=without_type), Given(offset=1, headers=without_project))

    assert sorted((refusal.id, refusal.named) for refusal in world.refusals) == [("e0", True), ("e1", False)]


async def test_a_body_is_refused_by_field_and_never_quoted() -> None:
    world = World()
    await world.handle(
        Given(offset=0, value=b'{"number": "secret text"}', headers=event_headers("e0", "kb/1")),
        Given(offset=1, value=b"\xff\xfe", headers=event_headers("e1", "kb/1")),
        Given(offset=2, value=b"[" * 100_000, headers=event_headers("e2", "kb/1")),
    )

    assert world.reasons == ["INVALID_BODY"] * 3
    message = dict(world.publisher.published[0].headers)["tidemill_dead_message"].decode()
    assert message.startswith("number: ")
    assert "secret" not in message


async def test_numbers_come_as_text_and_unknown_fields_pass_unless_the_subscription_is_strict() -> None:
    world = World()
    await world.handle(
        Given(offset=0, value=b'{"number": "9007199254740993", "new": 1}', headers=event_headers("e", "s"))
    )
    assert world.effects.numbers == [9007199254740993]

    with pytest.raises(ValueError, match="strict"):
        Subscription(
            name="tests.strict",
            topics=("tests",),
            delivery=Delivery.ONCE,
            routes={WRITTEN: Route(StrictLine, world.effects.write)},
        )


async def test_a_dead_letter_is_written_in_the_end_however_often_that_fails() -> None:
    world = World(publisher=FlakyPublisher(failures=20))
    await world.handle(Given(offset=0, value=b"{", headers=event_headers("e0", "kb/1")))

    assert world.reasons == ["INVALID_BODY"]


async def test_while_a_dependency_is_down_the_record_waits_and_is_let_go_at_once() -> None:
    down = DependencyUnavailable("MongoDB does not answer", dependency="mongodb")
    world = World(raised=[down] * 1000)
    engine = world.engine()
    batch = engine.take([line(0, 0), line(1, 1)])
    await eventually(lambda: engine.waiting_for == "mongodb")

    await batch.release(5)

    assert engine.waiting_for == ""
    assert batch.committable() == {}
    assert batch.left_over() == {Partition("tests", 0): 0}
    assert world.publisher.published == []


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
    batch = engine.take([*slow[:2], line(2, 2, subject="b"), line(3, 3, subject="c"), slow[2]])
    await eventually(lambda: numbers == [2, 3])

    releasing = asyncio.create_task(batch.release(5))
    gate.set()
    await releasing

    assert numbers == [2, 3, 0, 1]
    assert batch.committable() == {Partition("tests", 0): 4}


async def test_a_handler_that_meets_a_cancelled_task_leaves_its_record_to_be_read_again() -> None:
    async def handle(_: EventContext, body: Line) -> None:
        if body.number == 1:
            shared = asyncio.create_task(asyncio.Event().wait())
            shared.cancel()
            await shared

    routes = {WRITTEN: Route(Line, handle)}
    subscription = Subscription(name="tests.cancelled", topics=("tests",), delivery=Delivery.ONCE, routes=routes)
    engine = Engine(subscription, dead_letters=FlakyPublisher(failures=0), limits=QUICK)
    batch = engine.take([line(0, 0, subject="a"), line(1, 1, subject="b"), line(2, 2, subject="c")])
    assert await batch.wait(5)

    assert isinstance(batch.failure, RuntimeError)
    assert batch.committable() == {Partition("tests", 0): 1}
    assert batch.left_over() == {Partition("tests", 0): 1}


async def test_the_trace_of_the_record_goes_on_in_the_handler() -> None:
    traces: list[str] = []

    async def handle(_context: EventContext, _body: Line) -> None:
        traces.append(telemetry.trace_id())

    routes = {WRITTEN: Route(Line, handle)}
    subscription = Subscription(name="tests.trace", topics=("tests",), delivery=Delivery.ONCE, routes=routes)
    engine = Engine(subscription, dead_letters=FlakyPublisher(failures=0), limits=QUICK)
    batch = engine.take([line(0, 0, traceparent=f"00-{TRACE}-b7ad6b7169203331-01")])
    assert await batch.wait(5)

    assert traces == [TRACE]


def _events(*, outcome: str, ce_type: str = WRITTEN) -> float:
    labels = {"consumer": "tests.engine", "type": ce_type, "outcome": outcome}
    return REGISTRY.get_sample_value("tidemill_events_total", labels) or 0
