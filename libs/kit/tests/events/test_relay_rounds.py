"""Events that are published, or taken out of their outboxes, together."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from libs.kit.tests.events.relay_harness import Office, by_subject, running, write
from tidemill_kit.events.kafka import Publisher
from tidemill_kit.events.records import OutgoingRecord, Publishing
from tidemill_kit.events.relay import Relay
from tidemill_kit.store.mongo import Collection, Document
from tidemill_testkit.polling import eventually


@dataclass
class HangsOnce:
    """Does not come back from publishing the first record, as where no broker takes it."""

    behind: Publishing
    hung: list[OutgoingRecord] = field(default_factory=list)

    async def publish(self, record: OutgoingRecord) -> None:
        if not self.hung:
            self.hung.append(record)
            await asyncio.Event().wait()
        await self.behind.publish(record)


async def test_events_that_were_published_at_the_same_time_are_taken_out_together(
    office: Office, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = list[int]()

    update_many = type(office.notes).update_many

    def counting(notes: Collection, chosen: Document, update: Document) -> Any:  # noqa: ANN401 - what the driver returns
        if "outbox.ce_id" in chosen:
            sizes.append(len(chosen["_id"]["$in"]))
        return update_many(notes, chosen, update)

    monkeypatch.setattr(type(office.notes), "update_many", counting)
    for note in range(20):
        await write(office.aggregates(), f"n{note}", "first")
    await write(office.aggregates(), "n0", "second")
    async with running(office.relay(publisher)) as relay:
        await eventually(lambda: bool(sizes))
        await eventually(lambda: relay.outbox_length() == 0)

    assert max(sizes) > 1
    assert by_subject(await office.published()) == {"n0": [1, 2]} | {f"n{note}": [1] for note in range(1, 20)}
    assert await office.waiting() == 0


async def test_events_that_come_one_after_the_other_wait_for_a_round_unless_the_service_stops(
    office: Office, publisher: Publisher
) -> None:
    relay = office.relay(publisher, round_s=3600)
    await write(office.aggregates(), "n", "before the start")
    async with running(relay):
        await eventually(office.nothing_waits)  # what its first sweep reads has been read
        notes = office.aggregates(relay.enqueuer(office.notes, in_rounds=True))
        await write(notes, "n0", "after a pause")
        await eventually(lambda: relay.outbox_length() == 0)
        for note in ("n1", "n2"):
            await write(notes, note, "soon after")
        assert relay.outbox_length() == await office.waiting() == 2

        relay.begin_stop()
        await eventually(lambda: relay.outbox_length() == 0)
    assert by_subject(await office.published()) == {"n": [1], "n0": [1], "n1": [1], "n2": [1]}
    assert await office.waiting() == 0


async def test_as_many_as_make_a_round_do_not_wait_for_an_event_that_is_stuck(
    office: Office, publisher: Publisher
) -> None:
    stuck = HangsOnce(publisher)
    relay = office.relay(stuck, round_s=3600)
    async with running(relay):
        notes = office.aggregates(relay.enqueuer(office.notes, in_rounds=True))
        await write(notes, "stuck", "after a pause")
        await eventually(lambda: len(stuck.hung) == 1)
        for turn in range(2):
            for note in range(128):
                await write(notes, f"n{turn}-{note}", "soon after")
            await eventually(lambda: relay.outbox_length() == 1)
    assert by_subject(await office.published()) == {f"n{turn}-{note}": [1] for turn in range(2) for note in range(128)}
    assert await office.waiting() == 1


async def test_events_of_a_document_that_replicas_share_wait_for_no_round(office: Office, publisher: Publisher) -> None:
    relay = office.relay(publisher, round_s=3600)
    async with running(relay):
        notes = office.aggregates(relay.enqueuer(office.notes))
        for note in ("n0", "n1", "n2"):
            await write(notes, note, "one after the other")
        await eventually(lambda: relay.outbox_length() == 0)
    assert by_subject(await office.published()) == {"n0": [1], "n1": [1], "n2": [1]}


async def test_documents_that_are_there_for_their_events_are_removed_together_but_not_with_another_event(
    office: Office, publisher: Publisher
) -> None:
    relay = Relay(publisher)
    notes = office.aggregates(relay.enqueuer(office.notes, passing=True))
    for note in range(5):
        await write(notes, f"n{note}", "passing")
    await office.notes.update_one({"_id": "acme/n0"}, {"$push": {"outbox": {"ce_id": "of another writer"}}})
    async with running(relay):

        async def one_is_left() -> bool:
            return await office.notes.count_documents({}) == 1

        await eventually(one_is_left)
    assert (await office.stored("n0"))["outbox"][1]["ce_id"] == "of another writer"
