"""The traps of Kafka consumers that lost or repeated data, each on the real broker."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from pydantic import ValidationError

from libs.kit.tests.events.harness import LIMITS, Bench, Effects, FlakyPublisher, Line, Upstream, event_headers
from libs.kit.tests.wire import wire_to
from tidemill_core.errors import DependencyUnavailable
from tidemill_kit.events.cloudevents import CloudEvent
from tidemill_kit.events.dead_letters import DeadLetter, DeadLetters
from tidemill_kit.events.kafka import Consumers, Publisher, read_topic
from tidemill_kit.events.subscriptions import EventContext
from tidemill_kit.events.window import WindowLimits
from tidemill_kit.store.idempotency import REMEMBERED_REQUESTS
from tidemill_testkit.polling import eventually

MakeBench = Callable[[int], Awaitable[Bench]]


async def dead_letters_of(bench: Bench) -> list[DeadLetter]:
    letters = DeadLetters(partial(read_topic, bench.topics.bootstrap), bench.publisher)
    return list(await letters.list(bench.dead_letter_topic))


async def test_broken_records_among_good_ones_cost_only_themselves(bench: Bench, upstream: Upstream) -> None:
    await upstream.write(bench.topic, [0])
    await upstream.raw(bench.topic, b'{"number": ', event_headers("broken", "kb/1"))
    await upstream.raw(bench.topic, b'{"number": 9}', [("ce_id", b"no more than an id")])
    await upstream.raw(bench.topic, b'{"number": 9}', [("ce_source", b"\xff\xfe"), ("ce_type", b"\xff")])
    await upstream.raw(bench.topic, b'{"number": 9, "colour": "red"}', event_headers("unknown-field", "kb/1"))
    await upstream.raw(bench.topic, None, event_headers("tombstone", "kb/1"))
    await upstream.raw(bench.topic, b'{"number": 9}', [*event_headers("", "kb/1"), ("x", None)], key=None)
    await upstream.write(bench.topic, [7])
    effects = Effects()
    consumers = bench.consumers(effects.write)

    await consumers.start()
    await eventually(lambda: effects.numbers == [0, 7])
    await eventually(lambda: consumers.status()[0].lag == 0)
    await consumers.stop()

    letters = await dead_letters_of(bench)
    assert sorted((letter.origin_offset, letter.reason) for letter in letters) == [
        (1, "INVALID_BODY"),
        (2, "INVALID_EVENT"),
        (3, "INVALID_EVENT"),
        (4, "INVALID_BODY"),
        (5, "INVALID_EVENT"),
        (6, "INVALID_EVENT"),
    ]
    assert {letter.origin for letter in letters} == {(bench.topic, 0)}
    assert await bench.committed() == 8
    assert consumers.status()[0].dead_lettered == 6


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
    consumers = bench.consumers(handle, limits=replace(LIMITS, records=2, window=WindowLimits(records=2)))
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


async def test_a_poisonous_event_goes_to_the_dead_letters_and_the_rest_goes_on(
    bench: Bench, upstream: Upstream
) -> None:
    effects, runs = Effects(), 0

    async def handle(context: EventContext, line: Line) -> None:
        nonlocal runs
        if line.number == 1:
            runs += 1
            message = "secret text of a user"
            raise ValueError(message)
        await effects.write(context, line)

    await upstream.write(bench.topic, [0, 1, 2])
    consumers = bench.consumers(handle)
    await consumers.start()
    await eventually(lambda: effects.numbers == [0, 2])
    await eventually(lambda: consumers.status()[0].lag == 0)
    await consumers.stop()

    (letter,) = await dead_letters_of(bench)
    assert (letter.reason, letter.attempts, letter.origin_offset, runs) == ("INTERNAL", 3, 1, 3)
    assert "ValueError" in letter.message
    assert "secret" not in letter.message
    assert letter.attributes["id"] == "kb/1-1"


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


async def test_a_record_near_the_limit_can_be_dead_lettered(bench: Bench, upstream: Upstream) -> None:
    near = b'{"text": "' + b"x" * 900_000
    grows = b'{"text": "' + b"y" * (9 * 1024 * 1024)
    await upstream.raw(bench.topic, near, event_headers("near", "kb/1"))
    await upstream.raw(bench.topic, grows, event_headers("grows", "kb/1"))
    await upstream.write(bench.topic, [3])
    effects = Effects()
    consumers = bench.consumers(effects.write)
    await consumers.start()
    await eventually(lambda: effects.numbers == [3])
    await consumers.stop()

    letters = DeadLetters(partial(read_topic, bench.topics.bootstrap), bench.publisher)
    found = await letters.list(bench.dead_letter_topic)
    shown = [
        await letters.show(bench.dead_letter_topic, partition=letter.partition, offset=letter.offset)
        for letter in found
    ]
    assert [letter.original.value for letter in shown] == [near, grows]


async def test_a_dead_letter_that_cannot_be_written_is_waited_for(bench: Bench, upstream: Upstream) -> None:
    flaky = FlakyPublisher(failures=1_000_000, behind=bench.publisher)
    waiting = replace(bench, publisher=flaky)
    await upstream.raw(bench.topic, b"{", event_headers("broken", "kb/1"))
    effects = Effects()
    consumers = waiting.consumers(effects.write)
    await consumers.start()
    await eventually(lambda: consumers.status()[0].waiting_for == "kafka")
    assert await bench.committed() is None
    flaky.failures = 0
    await eventually(lambda: consumers.status()[0].dead_lettered == 1)
    await consumers.stop()
    assert await bench.committed() == 1


async def test_a_dead_letter_can_be_redriven(bench: Bench, upstream: Upstream) -> None:
    effects, repaired = Effects(), False

    async def handle(context: EventContext, line: Line) -> None:
        if not repaired:
            Line.model_validate({"number": "no number"})
        await effects.write(context, line)

    await upstream.write(bench.topic, [5])
    consumers = bench.consumers(handle)
    await consumers.start()
    await eventually(lambda: consumers.status()[0].dead_lettered == 1)
    letters = DeadLetters(partial(read_topic, bench.topics.bootstrap), bench.publisher)
    (letter,) = await letters.list(bench.dead_letter_topic)
    assert ValidationError.__name__ in letter.message
    assert not letter.redriven

    repaired = True
    await letters.redrive(bench.dead_letter_topic, partition=letter.partition, offset=letter.offset)
    await eventually(lambda: effects.numbers == [5])
    await consumers.stop()
    (letter,) = await letters.list(bench.dead_letter_topic)
    assert letter.redriven
    assert letter.original.headers == tuple(event_headers("kb/1-5", "kb/1"))


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


async def test_compressed_records_of_every_kind_are_read(bench: Bench) -> None:
    for number, kind in enumerate(["gzip", "snappy", "lz4", "zstd"]):
        async with AIOKafkaProducer(bootstrap_servers=bench.topics.bootstrap, compression_type=kind) as producer:
            await Upstream(producer).write(bench.topic, [number])
    effects = Effects()
    consumers = bench.consumers(effects.write)
    await consumers.start()
    await eventually(lambda: effects.numbers == [0, 1, 2, 3])
    await consumers.stop()


async def test_a_record_that_cannot_be_read_costs_only_itself(make_bench: MakeBench, upstream: Upstream) -> None:
    bench = await make_bench(2)
    effects = Effects()
    consumers = bench.consumers(effects.write)
    await upstream.raw(bench.topic, b'{"number": 0}', event_headers("before", "kb/0"), partition=0)
    await consumers.start()
    await eventually(lambda: effects.numbers == [0])

    script = Path(__file__).with_name("strange_producer.py")
    strange = await asyncio.create_subprocess_exec(
        sys.executable,
        str(script),
        *(bench.topics.bootstrap, bench.topic),
        env={**os.environ, "AIOKAFKA_NO_EXTENSIONS": "1"},
    )
    assert await strange.wait() == 0
    for number in range(1, 41):
        headers = event_headers(f"beside-{number}", "kb/1")
        await upstream.raw(bench.topic, b'{"number": %d}' % number, headers, partition=1)
    await upstream.raw(bench.topic, b'{"number": 41}', event_headers("behind", "kb/0"), partition=0)

    await eventually(lambda: set(effects.numbers) == set(range(42)))
    await eventually(lambda: consumers.status()[0].lag == 0)
    await consumers.stop()
    assert effects.of("kb/1") == list(range(1, 41))
    assert [letter.origin_offset for letter in await dead_letters_of(bench)] == [1]
    assert (await bench.committed(0), await bench.committed(1)) == (3, 40)


async def test_a_sequence_that_is_no_number_of_ours_delays_no_other(bench: Bench, upstream: Upstream) -> None:
    effects = Effects()
    consumers = bench.consumers(effects.write)
    await upstream.write(bench.topic, [1], subject="kb/huge", sequence="9" * 4301)
    await upstream.write(bench.topic, [2])

    await consumers.start()
    await eventually(lambda: effects.numbers == [2])
    await eventually(lambda: consumers.status()[0].dead_lettered == 1)
    await consumers.stop()

    (letter,) = await dead_letters_of(bench)
    assert "sequence: has 4301 digits" in letter.message


async def test_a_record_that_inflates_beyond_all_bounds_is_a_dead_letter_without_value(
    bench: Bench, upstream: Upstream
) -> None:
    value = b'{"colour": "' + b" " * (48 * 1024 * 1024) + b'"}'  # small on the wire
    effects = Effects()
    consumers = bench.consumers(effects.write)
    async with AIOKafkaProducer(
        bootstrap_servers=bench.topics.bootstrap, compression_type="gzip", max_request_size=2 * len(value)
    ) as producer:
        await Upstream(producer).raw(bench.topic, value, event_headers("bomb", "kb/1"))
    await upstream.write(bench.topic, [2])

    await consumers.start()
    await eventually(lambda: effects.numbers == [2])
    await eventually(lambda: consumers.status()[0].dead_lettered == 1)
    await consumers.stop()

    (letter,) = await dead_letters_of(bench)
    assert (letter.reason, letter.origin_offset) == ("INVALID_EVENT", 0)
    assert "inflates to more than 33554432 bytes" in letter.message


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
