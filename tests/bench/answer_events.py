"""Prints what the event of an answer costs outside of inference: in monitor, in feedback, and in MongoDB.

The events of answers go through the engine and the projections of these services, with stores in MongoDB, as records
that were polled together; what reading from Kafka costs is not in it. For answers without passages and with four it
prints the calls of MongoDB for each answer by projection, the processor time in this process, and that of MongoDB's.

Run with TIDEMILL_TEST_STACK naming a stack.json: `python -m tests.bench.answer_events [answers]`.
"""

import asyncio
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import process_time
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit
from uuid import uuid4

import psutil
import structlog
from pymongo import monitoring

from services.inference.tests.bench.store_calls import Counting
from tests.bench._figures import report
from tidemill_core.quotas import Quota
from tidemill_feedback.reactions.events import inferences
from tidemill_feedback.reactions.match_pending import MatchPending
from tidemill_feedback.reactions.mongo_pending import MongoPending
from tidemill_kit.events.cloudevents import CloudEvent, to_headers
from tidemill_kit.events.engine import Engine
from tidemill_kit.events.records import OutgoingRecord
from tidemill_kit.events.subscriptions import Subscription
from tidemill_kit.store.mongo import Database, connect
from tidemill_local.addresses import Addresses
from tidemill_monitor.audit.events import audit
from tidemill_monitor.lineage.events import lineage
from tidemill_monitor.lineage.mongo import MongoGraph
from tidemill_monitor.lineage.mongo_edges import MongoEdges
from tidemill_monitor.lineage.record_event import RecordEvent
from tidemill_monitor.usage.count_event import CountEvent
from tidemill_monitor.usage.events import usage
from tidemill_testkit.stack import unique_name

TOPIC = "tidemill.inference.inference.v1"
TYPE = "tidemill.inference.inference.completed.v1"
EXAMPLE = Path(__file__).resolve().parents[2] / "protos" / "examples" / f"{TYPE}.json"
PASSAGES = (0, 4)
DOCUMENTS = 50
PARTITIONS = 6
DONE_S = 300.0


class Polled(NamedTuple):
    """A record as Kafka's client returns it."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


class Spent(NamedTuple):
    """What one answer costs."""

    calls: float
    ours_ms: float
    servers_ms: float

    def __str__(self) -> str:
        return f"{self.calls:7.3f} calls, {self.ours_ms:6.3f} ms here, {self.servers_ms:6.3f} ms in MongoDB"


class NoLetters:
    """Takes no dead letter: there is to be none."""

    async def publish(self, record: OutgoingRecord) -> None:
        """Refuse."""
        raise AssertionError(record)


def records(answers: int, *, passages: int) -> Iterator[Polled]:
    """Yield the events of so many answers by one model and one prompt."""
    body, now = json.loads(EXAMPLE.read_text(encoding="utf-8")), datetime.now(UTC)
    for number in range(answers):
        name = str(uuid4())
        given = [
            {"document": f"d-{(number + 7 * each) % DOCUMENTS}", "version": 1, "cited": not each}
            for each in range(passages)
        ]
        event = CloudEvent(
            id=str(uuid4()),
            source="/tidemill/inference",
            type=TYPE,
            subject=name,
            project="bench",
            time=now,
            data=json.dumps(body | {"inference": name, "documents": given}).encode(),
            seq=1,
            traceparent="",
        )
        at = number % PARTITIONS, number // PARTITIONS
        yield Polled(TOPIC, *at, int(now.timestamp() * 1000), b"bench", event.data, to_headers(event))


async def no_documents(_project: str, _documents: object) -> Mapping[str, datetime]:
    """Return that none is erased."""
    return {}


async def nothing_waits(*_: object, **__: object) -> None:
    """Stand for a project whose metrics mean nothing where an answer has no value."""


async def projections(database: Database) -> Mapping[str, Subscription]:
    """Return what handles the event of an answer, by name."""
    edges = MongoEdges(database["edges"], database["edge_places"], list_length=50)
    graph = MongoGraph(database["nodes"], edges, database["counts"], count_s=60, max_parts=1001)
    quota = Quota(of="pending inferences", limit=1000, setting="")
    pending = MongoPending(database["pending"], maximum=100, quota=quota)
    for store in (graph, pending):
        await store.ensure_indexes()
    unused = cast("Any", None)  # no reaction waits for these answers
    match = MatchPending(
        pending=pending, inferences=unused, submit=unused, dead_letters=unused, erased=unused, late=unused
    )
    return {
        "monitor.lineage": lineage(RecordEvent(graph=graph, erased=no_documents)),
        "monitor.usage": usage(CountEvent(max_projects=100)),
        "monitor.audit": audit(unused),
        "feedback.inferences": inferences(match, nothing_waits),
    }


def processor_s(address: str) -> Callable[[], float]:
    """Return what says how much processor time the server at this address has used."""
    port = urlsplit(address).port
    listening = (each for each in psutil.net_connections("tcp") if each.status == psutil.CONN_LISTEN)
    process = psutil.Process(next(each.pid for each in listening if each.laddr and each.laddr.port == port))
    return lambda: sum(process.cpu_times()[:2])


async def handled(subscription: Subscription, polled: Sequence[Polled]) -> None:
    """Have one projection handle all records."""
    engine = Engine(subscription, dead_letters=NoLetters())
    window = engine.take(polled)
    assert await window.wait(DONE_S), "not done in time"


async def main(answers: int) -> None:
    """Measure and print."""
    stack = Addresses.read(Path(os.environ["TIDEMILL_TEST_STACK"]))
    counting = Counting()
    monitoring.register(counting)
    client, server_s = connect(stack.mongo, timeout_s=30), processor_s(stack.mongo)
    for passages in PASSAGES:
        database = client[unique_name("bench-events")]
        calls = ours_ms = servers_ms = 0.0
        for name, subscription in (await projections(database)).items():
            await handled(subscription, list(records(answers // 10, passages=passages)))  # so that code is warm
            counting.calls.clear()
            polled = list(records(answers, passages=passages))
            begun, begun_of_server = process_time(), server_s()
            await handled(subscription, polled)
            spent = Spent(
                counting.calls.total() / answers,
                (process_time() - begun) / answers * 1000,
                (server_s() - begun_of_server) / answers * 1000,
            )
            _say(f"{passages} passages, {name:20}{spent}")
            calls, ours_ms, servers_ms = calls + spent.calls, ours_ms + spent.ours_ms, servers_ms + spent.servers_ms
        _say(f"{passages} passages, {'an answer in all':20}{Spent(calls, ours_ms, servers_ms)}")
        report(f"answer_event_calls_{passages}", calls, "calls")
        await client.drop_database(database.name)
    _say(f"load {os.getloadavg()[0]:.1f}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))  # as services log
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000))
