"""From the outbox to Kafka, on the real servers: nothing lost, nothing out of order."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from bson.errors import InvalidBSON

from libs.kit.tests.events.harness import FlakyPublisher
from libs.kit.tests.events.relay_harness import Office, by_subject, running, write
from tidemill_kit.events.kafka import Publisher
from tidemill_kit.events.records import OutgoingRecord, Publishing
from tidemill_kit.store.mongo import Collection, Document
from tidemill_kit.store.outbox import NewEvents
from tidemill_testkit.polling import eventually


@dataclass
class PublishesAndHangs:
    """Publishes, and never comes back to say so: its process is about to die."""

    behind: Publishing
    published: list[OutgoingRecord] = field(default_factory=list)

    async def publish(self, record: OutgoingRecord) -> None:
        await self.behind.publish(record)
        self.published.append(record)
        await asyncio.Event().wait()


async def test_events_come_in_order_and_without_gaps_while_many_save(office: Office, publisher: Publisher) -> None:
    async with running(office.relay(publisher)) as relay:
        notes = office.aggregates(relay.enqueuer(office.notes))

        async def work(writer: int) -> None:
            for turn in range(6):
                await write(notes, f"n{(writer + turn) % 4}", f"{writer}-{turn}")

        await asyncio.gather(*(work(writer) for writer in range(6)))
        await eventually(lambda: relay.outbox_length() == 0)

    events = await office.published()
    assert len(events) == 36
    assert by_subject(events) == {
        note: list(range(1, len(numbers) + 1)) for note, numbers in by_subject(events).items()
    }
    assert await office.waiting() == 0
    assert {event.project for event in events} == {"acme"}
    assert relay.oldest_age_s() == 0


def reads_of_outboxes(office: Office, monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """Return what each search for events names, of those that are to come."""
    reads, find = list[Sequence[str]](), type(office.notes).find

    def finding(notes: Collection, chosen: Document, fields: Document) -> Any:  # noqa: ANN401 - what the driver returns
        if "outbox" in fields:
            reads.append(chosen["_id"]["$in"])
        return find(notes, chosen, fields)

    monkeypatch.setattr(type(office.notes), "find", finding)
    return reads


async def test_events_of_a_save_are_published_without_being_read_and_those_behind_others_are_read_together(
    office: Office, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = reads_of_outboxes(office, monkeypatch)
    relay = office.relay(publisher)
    notes = office.aggregates(relay.enqueuer(office.notes))
    for line in ("first", "second"):
        await write(notes, "n2", line)
    async with running(relay):
        await eventually(lambda: relay.outbox_length() == 0)
        assert reads == [["acme/n2"]]
        await write(notes, "n1", "first")
        await eventually(lambda: relay.outbox_length() == 0)

    assert reads == [["acme/n2"]]
    assert await office.waiting() == 0
    assert by_subject(await office.published()) == {"n1": [1], "n2": [1, 2]}


async def test_outboxes_of_many_aggregates_are_read_together_and_of_a_long_one_few_events(
    office: Office, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = reads_of_outboxes(office, monkeypatch)
    for note in range(40):
        await write(office.aggregates(), f"n{note}", "unheard")
    for turn in range(20):
        await write(office.aggregates(), "long", f"{turn}")
    relay = office.relay(publisher)
    relay.enqueuer(office.notes)(NewEvents(document_id="acme/gone", project="acme"))
    async with running(relay):
        await eventually(office.nothing_waits)
        await eventually(lambda: relay.outbox_length() == 0)

    named = Counter(each for read in reads for each in read)
    assert named == {"acme/gone": 1, "acme/long": 3} | {f"acme/n{note}": 1 for note in range(40)}
    assert len(reads) < 15
    published = {f"n{note}": [1] for note in range(40)} | {"long": list(range(1, 21))}
    assert by_subject(await office.published()) == published


async def test_a_crash_between_publishing_and_taking_out_publishes_the_same_event_again(
    office: Office, publisher: Publisher
) -> None:
    dying = PublishesAndHangs(publisher)
    async with running(office.relay(dying)) as relay:
        await write(office.aggregates(relay.enqueuer(office.notes)), "n1", "first")
        await eventually(lambda: len(dying.published) == 1)
    assert await office.waiting() == 1

    async with running(office.relay(publisher)) as relay:
        await write(office.aggregates(relay.enqueuer(office.notes)), "n1", "second")

        async def nothing_waits() -> bool:
            return await office.waiting() == 0

        await eventually(nothing_waits)
    first, again, second = await office.published()
    assert first == again
    assert [first.seq, second.seq] == [1, 2]


async def test_the_sweep_finds_what_the_relay_was_not_notified_of(office: Office, publisher: Publisher) -> None:
    for note in range(5):
        await write(office.aggregates(), f"n{note}", "unheard")
    assert await office.waiting() == 5

    async with running(office.relay(publisher, sweep_every_s=0.2)) as relay:

        async def nothing_waits() -> bool:
            return await office.waiting() == 0

        await eventually(nothing_waits)
        await write(office.aggregates(), "n9", "unheard, too")
        await eventually(nothing_waits)
        await eventually(lambda: relay.outbox_length() == 0)
    assert by_subject(await office.published()) == {f"n{note}": [1] for note in (0, 1, 2, 3, 4, 9)}


async def test_two_relays_at_once_lose_nothing_and_keep_the_order(office: Office, publisher: Publisher) -> None:
    one, other = office.relay(publisher), office.relay(publisher)
    async with running(one), running(other):
        enqueue_one, enqueue_other = one.enqueuer(office.notes), other.enqueuer(office.notes)

        def enqueue_both(new: NewEvents) -> None:
            enqueue_one(new)
            enqueue_other(new)

        notes = office.aggregates(enqueue_both)

        async def work(note: int) -> None:
            for turn in range(10):
                await write(notes, f"n{note}", f"{turn}")

        await asyncio.gather(*(work(note) for note in range(4)))
        await eventually(lambda: one.outbox_length() + other.outbox_length() == 0)

    events = await office.published()
    assert by_subject(events) == {f"n{note}": list(range(1, 11)) for note in range(4)}
    assert len({event.id for event in events}) == 40
    assert await office.waiting() == 0


async def test_while_kafka_is_down_events_wait_and_then_go_out_in_order(office: Office, publisher: Publisher) -> None:
    flaky = FlakyPublisher(failures=1_000, behind=publisher)
    async with running(office.relay(flaky)) as relay:
        notes = office.aggregates(relay.enqueuer(office.notes))
        for turn in range(3):
            await write(notes, "n1", f"{turn}")
        assert relay.outbox_length() == 1
        flaky.failures = 0
        await eventually(lambda: relay.outbox_length() == 0)
    assert [event.seq for event in await office.published()] == [1, 2, 3]


async def test_of_any_number_of_waiting_events_few_are_known_and_all_go_out_once_kafka_is_back(
    office: Office, publisher: Publisher
) -> None:
    flaky = FlakyPublisher(failures=1_000_000, behind=publisher)
    for note in range(40):
        await write(office.aggregates(), f"before{note}", "found by the sweep")
    relay = office.relay(flaky, sweep_every_s=3600, max_known=10)
    known = list[int]()
    async with running(relay):
        enqueue = relay.enqueuer(office.notes)
        await eventually(lambda: relay.outbox_length() == 10)
        for note in range(40):
            await write(office.aggregates(enqueue), f"n{note}", "enqueued")
            known.append(relay.outbox_length())
        flaky.failures = 0

        async def nothing_waits() -> bool:
            known.append(relay.outbox_length())
            return await office.waiting() == 0

        await eventually(nothing_waits)
        await eventually(lambda: relay.outbox_length() == 0)
    assert max(known) == 10
    assert by_subject(await office.published()) == {
        f"{kind}{note}": [1] for kind in ("before", "n") for note in range(40)
    }


async def test_two_relays_publish_what_is_too_much_for_each_to_know_of(office: Office, publisher: Publisher) -> None:
    for note in range(60):
        await write(office.aggregates(), f"n{note}", "found by the sweep", now=datetime.now(UTC))
    flaky = [FlakyPublisher(failures=1_000_000, behind=publisher) for _ in range(2)]
    one, other = (office.relay(each, sweep_every_s=3600, max_known=10) for each in flaky)
    async with running(one), running(other):
        await eventually(lambda: one.outbox_length() == other.outbox_length() == 10)
        for each in flaky:
            each.failures = 0

        async def nothing_waits() -> bool:
            return await office.waiting() == 0

        await eventually(nothing_waits)
    events = await office.published()
    assert {event.subject for event in events} == {f"n{note}" for note in range(60)}  # both, or the first that retries


async def test_what_one_relay_cannot_publish_yet_is_left_alone_by_others_until_it_is_gone(
    office: Office, publisher: Publisher
) -> None:
    flaky = FlakyPublisher(failures=1_000_000, behind=publisher)
    beside = FlakyPublisher(failures=0, behind=publisher)
    await write(office.aggregates(), "n0", "found by the first sweep")
    async with running(office.relay(beside, sweep_every_s=3)) as other:
        await eventually(lambda: len(beside.published) == 1)
        async with running(office.relay(flaky, sweep_every_s=0.1)) as holder:
            await write(office.aggregates(holder.enqueuer(office.notes)), "n1", "held", now=datetime.now(UTC))
            before = flaky.failures
            await eventually(lambda: flaky.failures < before - 2)
            held = (await office.stored("n1"))["outbox_at"]

            async def held_again() -> bool:
                return bool((await office.stored("n1"))["outbox_at"] > held)

            await eventually(held_again)
            assert len(beside.published) == 1
        await eventually(lambda: len(beside.published) == 2)
        await eventually(lambda: other.outbox_length() == 0)


async def test_a_broken_entry_holds_up_its_own_aggregate_only(office: Office, publisher: Publisher) -> None:
    await write(office.aggregates(), "broken", "a")
    await office.notes.update_one({"_id": "acme/broken"}, {"$unset": {"outbox.0.topic": ""}})
    async with running(office.relay(publisher)) as relay:
        await write(office.aggregates(relay.enqueuer(office.notes)), "sound", "b")
        await eventually(lambda: relay.outbox_length() == 0)
    assert by_subject(await office.published()) == {"sound": [1]}
    assert await office.waiting() == 1


async def test_an_outbox_that_cannot_be_read_holds_up_its_own_aggregate_only(
    office: Office, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = type(office.notes).find

    def finding(notes: Collection, chosen: Document, fields: Document) -> Any:  # noqa: ANN401 - what the driver returns
        if "outbox" in fields and "acme/n1" in chosen["_id"]["$in"]:
            raise InvalidBSON
        return find(notes, chosen, fields)

    monkeypatch.setattr(type(office.notes), "find", finding)
    relay = office.relay(publisher)
    notes = office.aggregates(relay.enqueuer(office.notes))
    for note in (0, 0, 1, 1, 2, 2):
        await write(notes, f"n{note}", "read with another one")
    async with running(relay):
        await eventually(lambda: relay.outbox_length() == 0)

    assert by_subject(await office.published()) == {f"n{note}": [1, 2] for note in (0, 2)}
