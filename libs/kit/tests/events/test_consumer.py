"""The traps of Kafka consumers that lost or repeated data, each on the real broker."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from libs.kit.tests.events.harness import (
    LIMITS,
    Bench,
    Effects,
    Line,
    MakeBench,
    Upstream,
    dead_letters_of,
    event_headers,
)
from libs.kit.tests.wire import wire_to
from tidemill_core.errors import DependencyUnavailable
from tidemill_kit.events.cloudevents import CloudEvent
from tidemill_kit.events.kafka import Consumers, Publisher
from tidemill_kit.events.subscriptions import EventContext
from tidemill_kit.events.window import WindowLimits
from tidemill_kit.store.idempotency import REMEMBERED_REQUESTS
from tidemill_testkit.polling import eventually


async def test_only_what_is_done_without_a_gap_is_committed(bench: Bench, upstream: Upstream) -> None:
    await upstream.write(bench.topic, [0, 1], subject="quick")
    await upstream.write(bench.topic, [2], subject="slow")
    await upstream.write(bench.topic, [3, 4], subject="quick")
    effects = Effects()

    async def handle(context: EventContext, line: Line) -> None:
        if context.subject == "slow":
            await asyncio.Event().wait()
        await effects.write(context, line)

    consumers = bench.consumers(handle, limits=replace(LIMITS, drain_s=0.1))
    await consumers.start()

    async def committed_two() -> bool:
        return await bench.committed() == 2

    await eventually(committed_two)
    await eventually(lambda: effects.numbers == [0, 1, 3, 4])
    await consumers.stop()
    assert await bench.committed() == 2

    again = bench.consumers(effects.write)
    await again.start()
    await eventually(lambda: effects.numbers == [0, 1, 3, 4, 2])
    await eventually(lambda: again.status()[0].lag == 0)
    await again.stop()
    assert effects.repeated == 2
    assert await bench.committed() == 5


async def test_a_handler_longer_than_the_poll_interval_keeps_its_partitions(bench: Bench, upstream: Upstream) -> None:
    limits = replace(LIMITS, max_poll_interval_s=2, session_s=6)
    effects = Effects()
    begun: list[int] = []

    async def handle(context: EventContext, line: Line) -> None:
        begun.append(line.number)
        await asyncio.sleep(7)
        await effects.write(context, line)

    ours, theirs = bench.consumers(handle, limits=limits), bench.consumers(handle, limits=limits)
    await asyncio.gather(ours.start(), theirs.start())
    await upstream.write(bench.topic, [0])
    await eventually(lambda: effects.numbers == [0])
    await upstream.write(bench.topic, [1])
    await eventually(lambda: effects.numbers == [0, 1])
    await eventually(lambda: ours.status()[0].lag + theirs.status()[0].lag == 0)
    await asyncio.gather(ours.stop(), theirs.stop())

    assert begun == [0, 1]
    assert await bench.committed() == 2


async def test_a_record_that_waits_holds_up_no_other_partition_and_pauses_its_own_once_its_window_is_full(
    make_bench: MakeBench, upstream: Upstream
) -> None:
    async def handle(_: EventContext, line: Line) -> None:
        begun.append(line.number)
        if line.number == 0:
            await gate.wait()

    async def write(number: int, partition: int) -> None:
        headers = event_headers(f"{number}", f"kb/{number}")
        await upstream.raw(bench.topic, b'{"number": %d}' % number, headers, partition=partition)

    async def committed_beside() -> bool:
        return await bench.committed(1) == 20

    bench = await make_bench(2)
    begun, gate = list[int](), asyncio.Event()
    await write(0, 0)
    await write(1, 0)
    consumers = bench.consumers(handle, limits=replace(LIMITS, records=2, window=WindowLimits(uncommitted=2)))
    await consumers.start()
    consumer = consumers._runners[0]._consumer  # noqa: SLF001 - that it pauses shows nowhere else
    assert consumer is not None
    await eventually(lambda: consumer.paused() == {TopicPartition(bench.topic, 0)})
    await write(2, 0)
    for number in range(10, 30):
        await write(number, 1)
    await eventually(committed_beside)
    await eventually(lambda: consumers.status()[0].lag == 3)

    assert sorted(begun) == [0, 1, *range(10, 30)]
    gate.set()
    await eventually(lambda: begun[-1] == 2)
    await eventually(lambda: consumers.status()[0].lag == 0)
    await consumers.stop()
    assert await bench.committed(0) == 3


async def test_what_waits_before_anything_came_from_it_shows_in_the_lag(
    make_bench: MakeBench, upstream: Upstream
) -> None:
    async def handle(_: EventContext, line: Line) -> None:
        if line.number == 0:
            await asyncio.Event().wait()

    bench = await make_bench(2)
    consumers = bench.consumers(handle, limits=replace(LIMITS, drain_s=0.1))
    await consumers.start()
    consumer = consumers._runners[0]._consumer  # noqa: SLF001 - as if nothing were ever fetched from it
    assert consumer is not None
    consumer.pause(TopicPartition(bench.topic, 1))
    consumers._runners[0]._open_partitions = lambda _: {TopicPartition(bench.topic, 0)}  # type: ignore[assignment,method-assign]  # noqa: SLF001
    for number in range(5):
        await upstream.raw(bench.topic, b'{"number": 0}', event_headers(f"{number}", "kb"), partition=1)

    await eventually(lambda: consumers.status()[0].lag == 5)
    await consumers.stop()


async def test_a_consumer_whose_polls_go_on_failing_is_made_anew(bench: Bench, upstream: Upstream) -> None:
    effects = Effects()
    consumers = bench.consumers(effects.write, limits=replace(LIMITS, failures=1))
    await consumers.start()
    await upstream.write(bench.topic, [0])
    await eventually(lambda: effects.numbers == [0])
    consumer: Any = consumers._runners[0]._consumer  # noqa: SLF001 - what ends it is a defect in the client library
    consumer._coordinator.check_errors = _broken  # noqa: SLF001 - ditto
    await upstream.write(bench.topic, [1])

    await eventually(lambda: effects.numbers == [0, 1])
    await consumers.stop()


def _broken() -> None:
    message = "Unexpected error during coordination"
    raise KafkaError(message)


async def test_a_second_member_joining_half_way_repeats_nothing_and_keeps_the_order(
    make_bench: MakeBench, upstream: Upstream
) -> None:
    bench = await make_bench(6)
    total, subjects = 6000, 60

    async def write(subject: int) -> None:
        for number in range(total // subjects):
            name = f"kb/{subject}"
            headers = event_headers(f"{name}-{number}", name)
            await upstream.producer.send(bench.topic, b'{"number": %d}' % number, key=name.encode(), headers=headers)

    for subject in range(subjects):
        await write(subject)
    await upstream.producer.flush()
    store = Effects()

    async def handle(context: EventContext, line: Line) -> None:
        await asyncio.sleep(0.001 * (3 - line.number % 4))  # later ones would overtake, if they could
        await store.write(context, line)

    first, second = bench.consumers(handle), bench.consumers(handle)
    await first.start()
    await eventually(lambda: len(store.happened) > total // 20)
    await second.start()
    await eventually(lambda: len(store.happened) == total)
    await eventually(lambda: first.status()[0].lag + second.status()[0].lag == 0)
    assert second.status()[0].handled > 0
    await asyncio.gather(first.stop(), second.stop())

    assert store.repeated == 0
    for subject in range(subjects):
        assert store.of(f"kb/{subject}") == list(range(total // subjects))


async def test_work_in_hand_ends_before_the_partition_has_a_new_owner(bench: Bench, upstream: Upstream) -> None:
    """An old version must not be written after a new owner's delete."""
    order: list[str] = []
    begun, gate = asyncio.Event(), asyncio.Event()

    async def slow(_: EventContext, line: Line) -> None:
        begun.set()
        await gate.wait()
        order.append(f"ours {line.number}")

    async def quick(_: EventContext, line: Line) -> None:
        order.append(f"theirs {line.number}")

    ours = bench.consumers(slow)
    await upstream.write(bench.topic, [0, 1])
    await ours.start()
    await begun.wait()
    theirs = bench.consumers(quick)
    starting = asyncio.create_task(theirs.start())
    await eventually(lambda: ours._runners[0]._letting_go)  # noqa: SLF001 - the moment of the rebalance shows nowhere else
    assert order == []
    gate.set()
    await starting

    await eventually(lambda: len(order) == 2)
    await eventually(lambda: ours.status()[0].lag + theirs.status()[0].lag == 0)
    await asyncio.gather(ours.stop(), theirs.stop())
    assert [line[-1] for line in order] == ["0", "1"]
    assert order[0] == "ours 0"


async def test_work_that_does_not_end_in_time_is_cancelled_and_done_by_the_new_owner(
    bench: Bench, upstream: Upstream
) -> None:
    order: list[str] = []
    begun = asyncio.Event()

    async def endless(_: EventContext, line: Line) -> None:
        begun.set()
        await asyncio.Event().wait()
        order.append(f"ours {line.number}")

    async def quick(_: EventContext, line: Line) -> None:
        order.append(f"theirs {line.number}")

    ours = bench.consumers(endless, limits=replace(LIMITS, drain_s=0.5))
    await upstream.write(bench.topic, [0, 1])
    await ours.start()
    await begun.wait()
    theirs = bench.consumers(quick)
    starting = asyncio.create_task(theirs.start())
    await eventually(lambda: ours._runners[0]._letting_go)  # noqa: SLF001 - the moment of the rebalance shows nowhere else
    await ours.stop()
    await starting
    await eventually(lambda: order == ["theirs 0", "theirs 1"])
    await theirs.stop()


async def test_an_effect_before_a_crash_happens_once(bench: Bench, upstream: Upstream) -> None:
    effects = Effects()
    done = asyncio.Event()

    async def crash_after_the_effect(context: EventContext, line: Line) -> None:
        await effects.write(context, line)
        done.set()
        await asyncio.Event().wait()

    await upstream.write(bench.topic, [0])
    crashing = bench.consumers(crash_after_the_effect, limits=replace(LIMITS, drain_s=0))
    await crashing.start()
    await done.wait()
    await crashing.stop()
    assert await bench.committed() is None

    again = bench.consumers(effects.write)
    await again.start()
    await eventually(lambda: effects.repeated == 1)
    await eventually(lambda: again.status()[0].lag == 0)
    await again.stop()
    assert effects.numbers == [0]
    assert await bench.committed() == 1


async def test_a_new_group_reads_the_history(bench: Bench, upstream: Upstream) -> None:
    await upstream.write(bench.topic, [0, 1, 2])
    effects = Effects()
    consumers = bench.consumers(effects.write)
    await consumers.start()
    await eventually(lambda: effects.numbers == [0, 1, 2])
    await consumers.stop()


async def test_a_topic_that_is_not_there_yet_is_waited_for(bench: Bench, upstream: Upstream) -> None:
    await bench.topics.admin.delete_topics([bench.topic])
    effects = Effects()
    consumers = bench.consumers(effects.write)
    starting = asyncio.create_task(consumers.start())
    await bench.topics.make(bench.topic)
    await upstream.write(bench.topic, [0])
    await starting
    await eventually(lambda: effects.numbers == [0])
    await consumers.stop()


async def test_a_dependency_that_is_down_is_waited_for_and_nothing_is_dead_lettered(
    bench: Bench, upstream: Upstream
) -> None:
    effects, down = Effects(), True

    async def handle(context: EventContext, line: Line) -> None:
        if down:
            message = "MongoDB does not answer"
            raise DependencyUnavailable(message, dependency="mongodb")
        await effects.write(context, line)

    await upstream.write(bench.topic, [0, 1])
    consumers = bench.consumers(handle)
    await consumers.start()
    await eventually(lambda: consumers.status()[0].waiting_for == "mongodb")
    await consumers.stop()
    assert await bench.committed() is None

    again = bench.consumers(handle)
    await again.start()
    await eventually(lambda: again.status()[0].waiting_for == "mongodb")
    await upstream.write(bench.topic, [2])
    await eventually(lambda: again.status()[0].lag == 3)
    down = False
    await eventually(lambda: effects.numbers == [0, 1, 2])
    await eventually(lambda: again.status()[0].waiting_for == "")
    await eventually(lambda: again.status()[0].lag == 0)
    await again.stop()
    assert await dead_letters_of(bench) == []
    assert await bench.committed() == 3


async def test_kafka_that_is_down_at_the_start_is_asked_again(bench: Bench, upstream: Upstream) -> None:
    await upstream.write(bench.topic, [0])
    effects = Effects()
    async with wire_to(bench.topics.bootstrap) as wire:
        wire.cut()
        publisher = Publisher(wire.address, timeout_s=2)
        consumers = Consumers(wire.address, [bench.subscription(effects.write)], publisher, consumer_limits=LIMITS)
        with pytest.raises(DependencyUnavailable):
            await consumers.start()
        with pytest.raises(DependencyUnavailable):
            await publisher.start()
        assert consumers.status()[0].waiting_for == "kafka"

        await wire.repair()
        await publisher.start()
        await consumers.start()
        await eventually(lambda: effects.numbers == [0])
        await consumers.stop()
        await publisher.stop()


async def test_an_engine_that_fails_loses_nothing(bench: Bench, upstream: Upstream) -> None:
    effects, failures = Effects(), 2

    def order(event: CloudEvent) -> str:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            message = "a defect in our own code"
            raise LookupError(message)
        return event.subject

    await upstream.write(bench.topic, [0, 1, 2])
    subscription = replace(bench.subscription(effects.write), order_by=order)
    consumers = Consumers(bench.topics.bootstrap, [subscription], bench.publisher, consumer_limits=LIMITS)
    await consumers.start()
    await eventually(lambda: effects.numbers == [0, 1, 2])
    await consumers.stop()
    assert await bench.committed() == 3


async def test_fewer_events_of_one_subject_wait_for_their_commit_than_an_aggregate_remembers(
    bench: Bench, upstream: Upstream
) -> None:
    handled: list[int] = []

    async def write(_context: EventContext, line: Line) -> None:
        committed = await bench.committed() or 0
        handled.append(line.number - committed)

    await upstream.write(bench.topic, range(120))
    consumers = bench.consumers(write, limits=replace(LIMITS, records=500, commit_every_s=60))
    await consumers.start()
    await eventually(lambda: len(handled) == 120)
    await consumers.stop()

    assert max(handled) < REMEMBERED_REQUESTS
