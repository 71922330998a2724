"""Which record the engine begins when: order in a subject, windows, projections, what is let go."""

import asyncio
import gc
import time
import weakref
from dataclasses import replace

import pytest

from libs.kit.tests.events.engine_harness import BEGUN, Given, Harness, events_counted, line, numbered
from libs.kit.tests.events.harness import QUICK, WRITTEN, Effects, FlakyPublisher, Line
from tidemill_core.errors import (
    DependencyUnavailable,
    NotFound,
)
from tidemill_kit.events.engine import MAX_UNCOMMITTED, Engine
from tidemill_kit.events.records import Partition
from tidemill_kit.events.subscriptions import Delivery, EventContext, Route, Subscription
from tidemill_kit.events.window import WindowLimits
from tidemill_testkit.polling import eventually


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
    assert events_counted(outcome="superseded") == 4


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


@pytest.mark.parametrize("limits", [WindowLimits(records=3), WindowLimits(value_bytes=3 * len(b'{"number": "0"}'))])
async def test_a_partition_with_enough_that_is_not_done_is_full_until_some_of_it_is_done(limits: WindowLimits) -> None:
    async def handle(_: EventContext, body: Line) -> None:
        await gates[body.number].wait()

    gates = [asyncio.Event() for _ in range(3)]
    routes = {WRITTEN: Route(Line, handle)}
    subscription = Subscription(name="tests.waiting", topics=("tests",), delivery=Delivery.ONCE, routes=routes)
    engine = Engine(subscription, dead_letters=FlakyPublisher(failures=0), limits=QUICK)
    window = engine.window(limits)
    window.add(engine.pending_records([line(offset, offset, subject=f"{offset}") for offset in range(3)]))
    assert window.full(Partition("tests", 0))

    window.space.clear()
    gates[1].set()
    await asyncio.wait_for(window.space.wait(), 5)
    assert not window.full(Partition("tests", 0))
    assert window.committable() == {}
    gates[0].set()
    gates[2].set()
    assert await window.wait(5)


async def test_of_what_is_done_behind_a_record_that_waits_only_the_place_is_kept() -> None:
    async def handle(_: EventContext, body: Line) -> None:
        if body.number == 0:
            await gate.wait()

    gate = asyncio.Event()
    routes = {WRITTEN: Route(Line, handle)}
    subscription = Subscription(name="tests.places", topics=("tests",), delivery=Delivery.LATEST, routes=routes)
    engine = Engine(subscription, dead_letters=FlakyPublisher(failures=0), limits=QUICK)
    window = engine.window(WindowLimits(records=3, value_bytes=50))
    records = list[weakref.ref[Given]]()
    for offset in range(20):
        record = line(offset, offset, subject=f"{offset}")
        records.append(weakref.ref(record))
        window.add(engine.pending_records([record]))
        await asyncio.sleep(0)
        assert not window.full(Partition("tests", 0))
    gc.collect()
    assert {offset for offset, each in enumerate(records) if each()} == {0, 19}

    gate.set()
    assert await window.wait(5)
    assert window.committable() == {Partition("tests", 0): 20}


async def test_a_partition_is_full_until_its_first_record_is_committed() -> None:
    gate = asyncio.Event()

    async def handle(_: EventContext, body: Line) -> None:
        if body.number == 0:
            await gate.wait()

    routes = {WRITTEN: Route(Line, handle)}
    subscription = Subscription(name="tests.full", topics=("tests",), delivery=Delivery.LATEST, routes=routes)
    engine = Engine(subscription, dead_letters=FlakyPublisher(failures=0), limits=QUICK)
    window = engine.window(WindowLimits(uncommitted=3))
    window.add(engine.pending_records([line(offset, offset, subject=f"{offset}") for offset in range(3)]))
    window.add(engine.pending_records([Given(offset=0, value=b" ", partition=1)]))
    await eventually(lambda: bool(window.committable()))

    assert [window.full(Partition("tests", number)) for number in range(3)] == [True, False, False]
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


async def test_subjects_whose_events_wait_for_nothing_share_a_task_and_one_that_waits_holds_up_no_other() -> None:
    async def handle(_: EventContext, body: Line) -> None:
        tasks[body.number] = asyncio.current_task()
        if body.number % 10 == 5:
            await free.wait()

    tasks: dict[int, asyncio.Task[None] | None] = {}
    free = asyncio.Event()
    routes = {WRITTEN: Route(Line, handle)}
    subscription = Subscription(name="tests.tasks", topics=("tests",), delivery=Delivery.ONCE, routes=routes)
    window = Engine(subscription, dead_letters=FlakyPublisher(failures=0), limits=QUICK).take(
        [line(number, number, subject=f"kb/{number}") for number in range(30)]
    )
    await eventually(lambda: len(tasks) == 30)
    assert len(set(tasks.values())) == 4
    assert window.left_over() == {Partition("tests", 0): 5}

    free.set()
    assert await window.wait(5)
    assert window.left_over() == {}
