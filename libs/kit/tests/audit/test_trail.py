"""The trail on real servers: what survives a crash, and what reaches the topic."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tidemill_core.application import Caller
from tidemill_kit.audit.calls import AuditedCall
from tidemill_kit.audit.trail import TOPIC, AuditUnavailable, MongoAuditTrail
from tidemill_kit.events.records import OutgoingRecord
from tidemill_kit.events.relay import Relay
from tidemill_kit.store.mongo import Database, connect
from tidemill_testkit.polling import eventually

HOLD = timedelta(seconds=600)


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 11, 20, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


class Kafka:
    """Keeps what is published."""

    def __init__(self) -> None:
        self.records: list[OutgoingRecord] = []

    async def publish(self, record: OutgoingRecord) -> None:
        self.records.append(record)

    def audited(self) -> list[dict[str, Any]]:
        return [json.loads(each.value or b"")["record"] for each in self.records]


class Process:
    """One process of a service."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.kafka = Kafka()
        self.relay = Relay(self.kafka)
        enqueue = self.relay.enqueuer(database["audit"], passing=True)
        self.trail = MongoAuditTrail(database["audit"], service="ingest", enqueue=enqueue, hold=HOLD, now=clock)

    async def run(self) -> None:
        await self.trail.ensure_indexes()
        await self.relay.start()
        await self.trail.start()

    async def stop(self) -> None:
        await self.trail.stop()
        await self.relay.stop()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def process(database: Database, clock: Clock) -> AsyncIterator[Process]:
    made = Process(database, clock)
    await made.run()
    yield made
    await made.stop()


def call(**changes: Any) -> AuditedCall:  # noqa: ANN401 - the fields of a call
    caller = Caller(project="acme", subject="user:ada", credential="the-key")
    return AuditedCall(**{"method": "tidemill.ingest.v1.SourceService/CreateSource", "caller": caller, **changes})


async def count(database: Database) -> int:
    return int(await database["audit"].count_documents({}))


async def test_a_call_is_stored_before_it_runs_published_after_it_and_then_removed(
    database: Database, process: Process
) -> None:
    made = call()
    await process.trail.begin(made)
    assert (await count(database), made.begun, process.kafka.records) == (1, True, [])

    process.trail.end(made)
    await eventually(lambda: len(process.kafka.records) == 1)
    await eventually(lambda: empty(database))
    (record,), (published,) = process.kafka.audited(), process.kafka.records
    assert (record["id"], record["subject"], record["credential"]) == (made.id, "user:ada", "the-key")
    assert (record["outcome"], record["code"], record["count"]) == ("AUDIT_OUTCOME_SUCCEEDED", "OK", "1")
    assert (published.topic, published.key) == (TOPIC, b"acme")


async def empty(database: Database) -> bool:
    return await count(database) == 0


async def test_a_refused_call_is_a_record_without_an_intent(process: Process) -> None:
    process.trail.end(call(code="PERMISSION_DENIED", reason="ROLE_REQUIRED"))
    await eventually(lambda: len(process.kafka.records) == 1)
    (record,) = process.kafka.audited()
    assert (record["outcome"], record["reason"]) == ("AUDIT_OUTCOME_REFUSED", "ROLE_REQUIRED")


async def test_refusals_of_unknown_callers_are_one_record_however_many(database: Database, process: Process) -> None:
    for _ in range(5):
        process.trail.end(call(caller=Caller(project=""), code="UNAUTHENTICATED", reason="CREDENTIAL_MISSING"))
    await process.trail.sweep()
    await eventually(lambda: len(process.kafka.records) == 1)
    await eventually(lambda: empty(database))
    (record,), (published,) = process.kafka.audited(), process.kafka.records
    assert (record["count"], record["project"], record["subject"]) == ("5", "", "")
    assert published.key == b"installation"


class SlowAtFirst:
    """The collection, whose first inserts wait for a gate."""

    def __init__(self, collection: Any, *, slow: int) -> None:  # noqa: ANN401 - a collection
        self._collection, self._slow, self.gate = collection, slow, asyncio.Event()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the collection's
        return getattr(self._collection, name)

    async def insert_many(self, *given: Any, **options: Any) -> Any:  # noqa: ANN401 - ditto
        self._slow -= 1
        if self._slow >= 0:
            await self.gate.wait()
        return await self._collection.insert_many(*given, **options)


@pytest.mark.parametrize("begun", [0, 1], ids=["waits for a command", "is on its way"])
async def test_a_call_whose_caller_leaves_before_its_intent_is_stored_refuses_no_other_and_is_recorded_once(
    database: Database, clock: Clock, begun: int
) -> None:
    slow: Any = SlowAtFirst(database["audit"], slow=2)
    kept: list[Any] = []
    trail = MongoAuditTrail(slow, service="ingest", enqueue=kept.append, hold=HOLD, now=clock)

    async def beginning(*calls: AuditedCall) -> list[asyncio.Task[None]]:
        tasks = [asyncio.create_task(trail.begin(each)) for each in calls]
        await asyncio.sleep(0.01)
        return tasks

    first = [call() for _ in range(2 - begun)]
    late, others = call(), [call() for _ in range(5)]
    before = [task for each in first for task in await beginning(each)]
    left, *after = await beginning(late, *others)
    left.cancel()
    await asyncio.gather(left, return_exceptions=True)
    late.code = "CANCELLED"
    trail.end(late)
    await trail._write_some()  # noqa: SLF001 - the outcome is stored before the intent
    if not begun:
        await database["audit"].delete_one({"_id": f"acme/{late.id}"})  # as the relay does once it is published
    slow.gate.set()

    await asyncio.gather(*before, *after)
    assert all(each.begun for each in (*first, *others))
    assert [each.project for each in kept] == ["acme"]
    stored = await database["audit"].find({"hold_until": {"$exists": True}}).to_list(None)
    assert sorted(each["_id"] for each in stored) == sorted(f"acme/{each.id}" for each in (*first, *others))


async def test_a_process_that_dies_in_between_leaves_an_outcome_unknown(
    database: Database, clock: Clock, process: Process
) -> None:
    died, made = Process(database, clock), call()
    await died.trail.begin(made)

    await process.trail.sweep()
    assert process.kafka.records == []
    await pass_hold(clock, process)
    await eventually(lambda: len(process.kafka.records) == 1)
    (record,) = process.kafka.audited()
    assert (record["id"], record["outcome"]) == (made.id, "AUDIT_OUTCOME_UNKNOWN")
    assert (record["subject"], record["code"]) == ("user:ada", "")


async def test_a_call_that_runs_for_long_is_held_by_its_process(
    database: Database, clock: Clock, process: Process
) -> None:
    made, other = call(), Process(database, clock)
    await process.trail.begin(made)
    for _ in range(4):
        clock.now += HOLD / 2
        await process.trail.sweep()
        await other.trail.sweep()
    process.trail.end(made)
    await eventually(lambda: len(process.kafka.records) == 1)
    assert process.kafka.audited()[0]["outcome"] == "AUDIT_OUTCOME_SUCCEEDED"
    assert other.kafka.records == []


async def pass_hold(clock: Clock, sweeping: Process) -> None:
    """Let the time pass after which the intents of others, which hold none of theirs, are ended."""
    for _ in range(3):
        clock.now += HOLD / 2
        await sweeping.trail.sweep()
    clock.now += timedelta(seconds=1)
    await sweeping.trail.sweep()


async def test_an_outcome_that_comes_after_it_was_taken_for_unknown_follows_and_stands(
    database: Database, clock: Clock, process: Process
) -> None:
    late, made = Process(database, clock), call()
    await late.run()
    await late.trail.begin(made)
    await pass_hold(clock, process)
    await eventually(lambda: len(process.kafka.records) == 1)
    late.trail.end(made)
    await eventually(lambda: len(late.kafka.records) == 1)
    await eventually(lambda: empty(database))
    await late.stop()
    records = [*process.kafka.audited(), *late.kafka.audited()]
    assert [each["outcome"] for each in records] == ["AUDIT_OUTCOME_UNKNOWN", "AUDIT_OUTCOME_SUCCEEDED"]
    assert {each["id"] for each in records} == {made.id}
    assert len({dict(each.headers)["ce_id"] for each in (*process.kafka.records, *late.kafka.records)}) == 2


async def test_an_outcome_is_not_removed_by_who_publishes_that_it_is_unknown(
    database: Database, clock: Clock, process: Process
) -> None:
    late, made, passed = Process(database, clock), call(), asyncio.Event()
    publish = process.kafka.publish

    async def publishing(record: OutgoingRecord) -> None:
        if not passed.is_set():
            late.trail.end(made)
            await late.trail.stop()
            passed.set()
        await publish(record)

    process.kafka.publish = publishing  # type: ignore[method-assign]
    await late.trail.begin(made)
    await pass_hold(clock, process)
    await eventually(lambda: empty(database))
    assert process.kafka.audited()[-1]["outcome"] == "AUDIT_OUTCOME_SUCCEEDED"


async def test_after_an_outage_longer_than_the_hold_no_replica_ends_the_calls_of_another(
    database: Database, clock: Clock, process: Process
) -> None:
    other, made = Process(database, clock), call()
    await process.trail.begin(made)
    clock.now += 3 * HOLD  # in which no sweep reached the store
    await other.trail.sweep()
    assert await database["audit"].count_documents({"hold_until": {"$exists": True}}) == 1
    await process.trail.sweep()
    process.trail.end(made)
    await eventually(lambda: empty(database))
    assert [each["outcome"] for each in process.kafka.audited()] == ["AUDIT_OUTCOME_SUCCEEDED"]


async def test_what_waits_when_the_service_stops_is_written(database: Database, clock: Clock) -> None:
    process, made = Process(database, clock), call()
    await process.trail.begin(made)
    process.trail.end(made)
    process.trail.end(call(caller=Caller(project="")))  # counted only
    await process.trail.stop()
    documents = await database["audit"].find({}).to_list(None)
    assert sorted(each["project"] for each in documents) == ["acme", "installation"]
    assert [len(each["outbox"]) for each in documents] == [1, 1]


async def test_without_the_store_nothing_begins_and_the_refusal_waits_for_it(clock: Clock) -> None:
    client = connect("mongodb://127.0.0.1:1", timeout_s=0.2)
    process, made = Process(client["audit"], clock), call()
    with pytest.raises(AuditUnavailable):
        await process.trail.begin(made)
    assert not made.begun
    made.code = "UNAVAILABLE"
    process.trail.end(made)
    await process.trail.start()
    await asyncio.sleep(0)
    assert len(process.trail._waiting) == 1  # noqa: SLF001 - what the next process cannot know of
    await process.trail.stop()
    client.close()


async def test_a_public_call_is_stored_before_its_reply_leaves(database: Database, process: Process) -> None:
    made = call(public=True, begun=True)
    await process.trail.finish(made)
    assert made.recorded
    process.trail.end(made)
    await eventually(lambda: len(process.kafka.records) == 1)
    await eventually(lambda: empty(database))
    await asyncio.sleep(0)
    assert len(process.kafka.records) == 1
