"""What a consumer cannot handle or read becomes a dead letter, and nothing else waits for it."""

import asyncio
import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

from aiokafka import AIOKafkaProducer
from pydantic import ValidationError

from libs.kit.tests.events.harness import (
    Bench,
    Effects,
    FlakyPublisher,
    Line,
    MakeBench,
    Upstream,
    dead_letters_of,
    event_headers,
)
from tidemill_kit.events.dead_letters import DeadLetters
from tidemill_kit.events.kafka import read_topic
from tidemill_kit.events.subscriptions import EventContext
from tidemill_testkit.polling import eventually


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
