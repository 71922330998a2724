"""Prints how many events a second go through the engine, beside bare aiokafka with the same effect and records.

Both read one topic of small JSON events from its beginning, check each body with the same pydantic model, write it into
the same kind of store, and commit. The engine also keeps each subject's order while subjects run at the same time,
continues each event's trace, counts it and logs what fails: what a service does, with a service's settings.

Run with TIDEMILL_TEST_STACK naming a stack.json: `python tests/bench/engine.py [events]`.
"""

import asyncio
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
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

from tidemill_kit.events.kafka import Consumers, Publisher
from tidemill_kit.events.subscriptions import Delivery, EventContext, Route, Subscription
from tidemill_kit.runtime.logging import merge_event_facts
from tidemill_local.addresses import Addresses

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


async def fill(bootstrap: str, topic: str, *, events: int) -> None:
    """Write the events, keyed by subject."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=5, max_batch_size=256 * 1024) as producer:
        for number in range(events):
            subject = f"kb/{number % SUBJECTS}"
            attributes = {"specversion": "1.0", "id": str(number), "source": "https://bench.example", "type": TYPE}
            attributes |= {"subject": subject, "project": "acme", "time": "2026-11-20T10:15:00Z"}
            headers = [(f"ce_{name}", text.encode()) for name, text in attributes.items()]
            body = b'{"number": "%d", "text": "%s"}' % (number, b"x" * 200)
            await producer.send(topic, body, key=subject.encode(), headers=headers)
        await producer.flush()


async def bare(bootstrap: str, topic: str, *, events: int, store: Store) -> None:
    """Poll, check, write, commit: one record after the other."""
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
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


async def engine(bootstrap: str, topic: str, *, events: int, store: Store) -> None:
    """Have the kit do it."""

    async def handle(context: EventContext, line: Line) -> None:
        await store.write(context.id, line, requested=events)

    subscription = Subscription(
        name=f"bench.{uuid4().hex}", topics=(topic,), delivery=Delivery.ONCE, routes={TYPE: Route(Line, handle)}
    )
    publisher = Publisher(bootstrap)
    consumers = Consumers(bootstrap, [subscription], publisher)
    await publisher.start()
    await consumers.start()
    await store.full.wait()
    await consumers.stop()
    await publisher.stop()


async def measure(
    run: Callable[..., Awaitable[None]], bootstrap: str, topic: str, *, events: int, round_trip_s: float
) -> tuple[float, float]:
    """Return the events per second of time, and of CPU time, from the first effect to the last commit."""
    store = Store(round_trip_s)
    await run(bootstrap, topic, events=events, store=store)
    begun, begun_cpu = store.begun
    return events / (perf_counter() - begun), events / (process_time() - begun_cpu)


async def main(events: int) -> None:
    """Print a line for each way and each kind of store."""
    bootstrap = Addresses.read(Path(os.environ["TIDEMILL_TEST_STACK"])).kafka
    topic = f"bench.{uuid4().hex}"
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, PARTITIONS, 1)])
    await fill(bootstrap, topic, events=events)
    process = psutil.Process()
    for name, round_trip_s, requested in (("effect in memory", 0.0, events), ("effect of 2 ms", 0.002, events // 5)):
        rates = {}
        for way in (bare, engine):
            rate, cpu_rate = await measure(way, bootstrap, topic, events=requested, round_trip_s=round_trip_s)
            rates[way.__name__] = rate
            result = (
                f"{rate:7.0f} events/s, {cpu_rate:7.0f} per second of CPU, {process.memory_info().rss / 1e6:.0f} MB"
            )
            print(f"{name}: {way.__name__:6} {result}")  # noqa: T201 - what the script is for
        print(f"{name}: engine / bare = {rates['engine'] / rates['bare']:.2f}")  # noqa: T201 - what the script is for
    await admin.delete_topics([topic])
    await admin.close()


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
