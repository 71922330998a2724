"""Prints how many events a second go through the engine, beside bare aiokafka with the same effect and records.

Both read one topic of small JSON events from its beginning, check each body with the same pydantic model, write it into
the same kind of store, and commit. The engine also keeps each subject's order while subjects run at the same time,
continues each event's trace, counts it and logs what fails: what a service does, with a service's settings. Both take
turns, and medians are printed. Then how long after its writing an event of other subjects has its effect while one
event takes seconds and while none does, for its own partition and for the other ones.

Run with TIDEMILL_TEST_STACK naming a stack.json: `python -m tests.bench.engine [events]`.
"""

import asyncio
import logging
import os
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import chain
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter, process_time
from uuid import uuid4

import psutil
import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from pydantic import BaseModel

from tests.bench._figures import report
from tidemill_core.transport_security import KafkaServers
from tidemill_kit.events.connection import client_options
from tidemill_kit.events.kafka import Consumers, Publisher
from tidemill_kit.events.subscriptions import Delivery, EventContext, Route, Subscription
from tidemill_kit.runtime.logging import merge_event_facts
from tidemill_local.addresses import Addresses

ROUNDS = 3
SLOW_S = 10.0
PER_SECOND = 600
PACED_S = 12
TYPE = "tests.line.written.v1"
SUBJECTS = 200
PARTITIONS = 6


class Line(BaseModel):
    """The body of an event."""

    number: int
    text: str


class Store:
    """Where the effect happens; `round_trip_s` stands for the time that a real store takes to answer."""

    def __init__(self, round_trip_s: float) -> None:
        self.lines: dict[str, Line] = {}
        self.full = asyncio.Event()
        self.begun: tuple[float, float] = (0.0, 0.0)
        self._round_trip_s = round_trip_s

    async def write(self, line_id: str, line: Line, *, requested: int) -> None:
        """Write one line, and notify when all are there."""
        if not any(self.begun):
            self.begun = perf_counter(), process_time()
        if self._round_trip_s:
            await asyncio.sleep(self._round_trip_s)
        self.lines[line_id] = line
        if len(self.lines) == requested:
            self.full.set()


def headers(number: int) -> list[tuple[str, bytes]]:
    """Return the attributes of an event."""
    attributes = {"specversion": "1.0", "id": str(number), "source": "https://bench.example", "type": TYPE}
    attributes |= {"subject": subject(number), "project": "acme", "time": "2026-11-20T10:15:00Z"}
    return [(f"ce_{name}", text.encode()) for name, text in attributes.items()]


def subject(number: int) -> str:
    """Return what an event is about."""
    return f"kb/{number % SUBJECTS}"


async def fill(servers: KafkaServers, topic: str, *, events: int, per_second: float = 0, written: list[float]) -> None:
    """Write the events, keyed by subject, and when each was written; as fast as it goes, or evenly."""
    begun = perf_counter()
    async with AIOKafkaProducer(**client_options(servers), linger_ms=5, max_batch_size=256 * 1024) as producer:
        for number in range(events):
            if per_second:
                await asyncio.sleep(max(0, begun + number / per_second - perf_counter()))
            body = b'{"number": %d, "text": "%s"}' % (number, b"x" * 200)
            written.append(perf_counter())
            await producer.send(topic, body, key=subject(number).encode(), headers=headers(number))
        await producer.flush()


async def bare(servers: KafkaServers, topic: str, *, events: int, store: Store) -> None:
    """Poll, check, write, commit: one record after the other."""
    consumer = AIOKafkaConsumer(
        topic,
        **client_options(servers),
        group_id=f"bare.{uuid4().hex}",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    async with consumer:
        while not store.full.is_set():
            polled = await consumer.getmany(timeout_ms=200, max_records=500)
            for records in polled.values():
                for record in records:
                    line = Line.model_validate_json(record.value)
                    await store.write(dict(record.headers)["ce_id"].decode(), line, requested=events)
            if polled:
                ends = {TopicPartition(*tp): records[-1].offset + 1 for tp, records in polled.items()}
                await consumer.commit(ends)


async def engine(servers: KafkaServers, topic: str, *, events: int, store: Store) -> None:
    """Have the kit do it."""

    async def handle(context: EventContext, line: Line) -> None:
        await store.write(context.id, line, requested=events)

    async with running(servers, topic, handle):
        await store.full.wait()


@asynccontextmanager
async def running(
    servers: KafkaServers, topic: str, handle: Callable[[EventContext, Line], Awaitable[None]]
) -> AsyncIterator[None]:
    """Consume the topic as a service does."""
    subscription = Subscription(
        name=f"bench.{uuid4().hex}", topics=(topic,), delivery=Delivery.ONCE, routes={TYPE: Route(Line, handle)}
    )
    publisher = Publisher(servers)
    consumers = Consumers(servers, [subscription], publisher)
    await publisher.start()
    await consumers.start()
    yield
    await consumers.stop()
    await publisher.stop()


async def measure(
    run: Callable[..., Awaitable[None]], servers: KafkaServers, topic: str, *, events: int, round_trip_s: float
) -> tuple[float, float]:
    """Return the events per second of time, and of CPU time, from the first effect to the last commit."""
    store = Store(round_trip_s)
    await run(servers, topic, events=events, store=store)
    begun, begun_cpu = store.begun
    return events / (perf_counter() - begun), events / (process_time() - begun_cpu)


async def latency_p95_s(servers: KafkaServers, topic: str, *, slow_s: float) -> dict[str, float]:
    """Return after how long others' events of the same and of other partitions have their effect, if one is slow."""
    events, slow = PER_SECOND * PACED_S, PER_SECOND  # after a second both sides are warm
    written, latencies, done = list[float](), defaultdict[int, list[float]](list), asyncio.Event()
    slow_partition, left = -1, events

    async def handle(context: EventContext, line: Line) -> None:
        nonlocal left, slow_partition
        if line.number == slow:
            slow_partition = context.partition
            await asyncio.sleep(slow_s)
        elif line.number > slow and subject(line.number) != subject(slow):
            latencies[context.partition].append(perf_counter() - written[line.number])
        left -= 1
        if not left:
            done.set()

    async with running(servers, topic, handle):
        await fill(servers, topic, events=events, per_second=PER_SECOND, written=written)
        await done.wait()
    same = latencies.pop(slow_partition)
    other = [*chain.from_iterable(latencies.values())]
    return {name: quantiles(times, n=20)[-1] for name, times in (("same", same), ("other", other))}


@asynccontextmanager
async def new_topic(servers: KafkaServers) -> AsyncIterator[str]:
    """Give an empty topic, and delete it at the end."""
    admin = AIOKafkaAdminClient(**client_options(servers))
    await admin.start()
    topic = f"bench.{uuid4().hex}"
    await admin.create_topics([NewTopic(topic, PARTITIONS, 1)])
    yield topic
    await admin.delete_topics([topic])
    await admin.close()


async def print_rates(servers: KafkaServers, *, name: str, events: int, round_trip_s: float) -> float:
    """Print a line for each way, and return the ratio."""
    rates: dict[str, list[tuple[float, float]]] = {way.__name__: [] for way in (bare, engine)}
    async with new_topic(servers) as topic:
        await fill(servers, topic, events=events, written=[])
        for way in (bare, engine) * ROUNDS:
            rates[way.__name__].append(await measure(way, servers, topic, events=events, round_trip_s=round_trip_s))
    for way_name, measured in rates.items():
        rate, cpu_rate = (median(column) for column in zip(*measured, strict=True))
        memory = f"{psutil.Process().memory_info().rss / 1e6:.0f} MB"
        say(f"{name}: {way_name:6} {rate:7.0f} events/s, {1e6 / cpu_rate:5.1f} us of CPU each, {memory}")
    ratios = [ours / theirs for (theirs, _), (ours, _) in zip(rates["bare"], rates["engine"], strict=True)]
    say(f"{name}: engine / bare = {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    return median(ratios)


async def main(events: int) -> None:
    """Print the rates with each kind of store, then what a slow event costs others."""
    servers = Addresses.read(Path(os.environ["TIDEMILL_TEST_STACK"])).kafka_servers("tidemill-admin")
    in_memory = await print_rates(servers, name="effect in memory", events=events, round_trip_s=0)
    report("events_in_memory", in_memory, "x")
    of_2_ms = await print_rates(servers, name="effect of 2 ms", events=events // 5, round_trip_s=0.002)
    report("events_of_2_ms", of_2_ms, "x")
    await print_latencies(servers)


async def print_latencies(servers: KafkaServers) -> None:
    """Print what others wait for while one event is slow, in pairs with and without it."""
    ratios = defaultdict[str, list[float]](list)
    for _ in range(ROUNDS):
        p95_s = []
        for slow_s in (0.0, SLOW_S):
            async with new_topic(servers) as topic:
                p95_s.append(await latency_p95_s(servers, topic, slow_s=slow_s))
        for name, without_s in p95_s[0].items():
            with_s = p95_s[1][name]
            both = f"{without_s * 1000:.0f} ms, while one event takes {SLOW_S:.0f} s: {with_s * 1000:.0f} ms"
            say(f"{name} partition: p95 {both}")
            ratios[name].append(with_s / without_s)
    for name, each in ratios.items():
        say(f"{name} partition: p95 with / without = {median(each):.2f} ({min(each):.2f} to {max(each):.2f})")
    report("others_p95", max(map(median, ratios.values())), "x")


def say(line: str) -> None:
    """Print at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    logging.basicConfig(level=logging.CRITICAL)
    trace.set_tracer_provider(TracerProvider(sampler=ALWAYS_OFF))
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            merge_event_facts,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(default=str),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=Path(os.devnull).open("w", encoding="utf-8")),  # noqa: SIM115
    )
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000))
