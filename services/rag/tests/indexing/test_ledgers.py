"""One contract for the ledger in memory, which tests use, and the one in MongoDB."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from services.rag.tests.fake_stores import InMemoryLedger
from tidemill_core.aggregate import ObjectRef
from tidemill_kit.store import mongo
from tidemill_rag.collections.domain.collection import IndexRef
from tidemill_rag.indexing.domain.ledger import Counts, DesiredDocument
from tidemill_rag.indexing.mongo import MongoLedger
from tidemill_rag.indexing.ports import Ledger
from tidemill_testkit.races import LostRace

INDEX = IndexRef(project="acme", collection="handbook", number=1)
OTHER = IndexRef(project="acme", collection="handbook", number=11)


@pytest.fixture
async def mongo_ledger(database: mongo.Database) -> MongoLedger:
    ledger = MongoLedger(database["ledger"], database["counts"], large_bytes=1000, count_s=60)
    await ledger.ensure_indexes()
    return ledger


@pytest.fixture(params=["memory", "mongo"])
def ledger(request: pytest.FixtureRequest) -> Ledger:
    chosen: Ledger = InMemoryLedger() if request.param == "memory" else request.getfixturevalue("mongo_ledger")
    return chosen


async def counts(ledger: Ledger) -> Counts:
    return (await ledger.counts([INDEX]))[INDEX]


def desired(document: str = "d1", *, seq: int = 1, gone: bool = False, size: int = 3) -> DesiredDocument:
    ref = ObjectRef(bucket="b", key=f"acme/{document}/{seq}", size=size, sha256="ab")
    return DesiredDocument(
        document=document, source="cms", key=f"kb/{document}", seq=seq, version=seq, content=None if gone else ref
    )


@pytest.mark.parametrize(("first", "second"), [(1, 3), (3, 1)])
async def test_of_two_events_that_begin_a_row_at_the_same_moment_the_newer_one_stays(
    mongo_ledger: MongoLedger, database: mongo.Database, first: int, second: int
) -> None:
    rows: Any = LostRace(database["ledger"], lambda: mongo_ledger.upsert_desired(INDEX, desired(seq=first)))

    assert await MongoLedger(rows, database["counts"], large_bytes=1000, count_s=60).upsert_desired(
        INDEX, desired(seq=second)
    ) is (second > first)

    assert (await mongo_ledger.rows(INDEX, ["d1"]))["d1"].desired.seq == 3


class Slow:
    """Updates of a collection, counted, that take a moment."""

    def __init__(self, collection: mongo.Collection) -> None:
        self.collection = collection
        self.updates = 0

    async def update_one(self, *update: Any) -> None:  # noqa: ANN401 - pymongo's
        self.updates += 1
        await asyncio.sleep(0.05)
        await self.collection.update_one(*update)


async def test_rows_that_are_written_at_the_same_time_share_an_increment_of_the_counters(
    mongo_ledger: MongoLedger, database: mongo.Database
) -> None:
    await mongo_ledger.count(INDEX)
    counters: Any = Slow(database["counts"])
    ledger = MongoLedger(database["ledger"], counters, large_bytes=1000, count_s=60)

    await asyncio.gather(*(ledger.upsert_desired(INDEX, desired(f"d{number}")) for number in range(20)))

    counted = await counts(mongo_ledger)
    assert (counted.desired, counted.pending) == (20, 20)
    assert 1 <= counters.updates <= 10


async def test_what_is_desired_comes_back_whole(ledger: Ledger) -> None:
    assert await ledger.upsert_desired(INDEX, desired())

    [row] = await ledger.take(INDEX, epoch=1, limit=10)

    assert row.desired == desired()
    assert (row.indexed_seq, row.chunks, row.failure) == (0, 0, "")


async def test_only_a_newer_event_is_kept(ledger: Ledger) -> None:
    assert await ledger.upsert_desired(INDEX, desired(seq=2))
    assert not await ledger.upsert_desired(INDEX, desired(seq=2))
    assert not await ledger.upsert_desired(INDEX, desired(seq=1))
    assert await ledger.upsert_desired(INDEX, desired(seq=3, gone=True))

    rows = await ledger.rows(INDEX, ["d1", "nope"])

    assert {document: row.desired for document, row in rows.items()} == {"d1": desired(seq=3, gone=True)}


async def test_an_indexed_row_is_taken_no_more_until_something_new_is_desired(ledger: Ledger) -> None:
    await ledger.upsert_desired(INDEX, desired())
    [row] = await ledger.take(INDEX, epoch=1, limit=10)
    assert await ledger.mark_indexed(INDEX, row, epoch=1, chunks=4)
    assert await ledger.take(INDEX, epoch=1, limit=10) == []

    await ledger.upsert_desired(INDEX, desired(seq=2))

    [again] = await ledger.take(INDEX, epoch=1, limit=10)
    assert (again.indexed_seq, again.chunks) == (1, 4)


async def test_a_row_of_which_something_else_is_desired_by_now_is_not_marked_indexed(ledger: Ledger) -> None:
    await ledger.upsert_desired(INDEX, desired())
    [row] = await ledger.take(INDEX, epoch=1, limit=10)
    await ledger.upsert_desired(INDEX, desired(seq=2))

    assert not await ledger.mark_indexed(INDEX, row, epoch=1, chunks=4)
    assert not await ledger.fail(INDEX, row, epoch=1, message="broken", final=True)
    assert (await counts(ledger)).pending == 1


async def test_a_later_holder_shuts_the_earlier_one_out(ledger: Ledger) -> None:
    await ledger.upsert_desired(INDEX, desired())
    [row] = await ledger.take(INDEX, epoch=1, limit=10)
    await ledger.take(INDEX, epoch=2, limit=10)

    assert not await ledger.mark_indexed(INDEX, row, epoch=1, chunks=4)
    assert await ledger.mark_indexed(INDEX, row, epoch=2, chunks=4)


async def test_a_failure_that_is_not_final_leaves_the_row_to_be_tried_again(ledger: Ledger) -> None:
    await ledger.upsert_desired(INDEX, desired())
    [row] = await ledger.take(INDEX, epoch=1, limit=10)
    await ledger.fail(INDEX, row, epoch=1, message="broken", final=False)
    [row] = await ledger.take(INDEX, epoch=1, limit=10)
    assert row.attempts == 1

    await ledger.fail(INDEX, row, epoch=1, message="broken", final=True)

    assert await ledger.take(INDEX, epoch=1, limit=10) == []
    assert (await ledger.rows(INDEX, ["d1"]))["d1"].failure == "broken"
    await ledger.upsert_desired(INDEX, desired(seq=2))
    [row] = await ledger.take(INDEX, epoch=1, limit=10)
    assert (row.attempts, row.failure) == (0, "")


async def test_attempts_are_counted_before_they_are_made_and_taken_back_down_to_none(ledger: Ledger) -> None:
    await ledger.upsert_desired(INDEX, desired())
    (row,) = await ledger.take(INDEX, epoch=2, limit=10)
    attempts = []
    for by, epoch in ((1, 2), (1, 2), (-1, 2), (1, 1), (-1, 2), (-1, 2)):
        await ledger.attempt(INDEX, [row], epoch=epoch, by=by)
        (seen,) = await ledger.take(INDEX, epoch=2, limit=10)
        attempts.append(seen.attempts)
    await ledger.mark_indexed(INDEX, row, epoch=2, chunks=1)
    await ledger.attempt(INDEX, [row], epoch=2, by=1)

    assert attempts == [1, 2, 1, 1, 0, 0]
    assert (await ledger.rows(INDEX, ["d1"]))["d1"].attempts == 0


async def test_the_numbers_report_what_is_there(ledger: Ledger) -> None:
    for number in range(1, 5):
        await ledger.upsert_desired(INDEX, desired(f"d{number}"))
    await ledger.upsert_desired(INDEX, desired("gone", gone=True))
    rows = {row.desired.document: row for row in await ledger.take(INDEX, epoch=1, limit=10)}
    await ledger.mark_indexed(INDEX, rows["d1"], epoch=1, chunks=3)
    await ledger.mark_indexed(INDEX, rows["d2"], epoch=1, chunks=2)
    await ledger.fail(INDEX, rows["d3"], epoch=1, message="broken", final=True)

    assert await counts(ledger) == Counts(desired=4, indexed=2, failed=1, chunks=5, pending=2)


async def test_the_numbers_keep_up_with_every_write_and_agree_with_a_count(ledger: Ledger) -> None:
    async def agree() -> Counts:
        kept = await counts(ledger)
        assert kept == await ledger.count(INDEX)
        return kept

    await ledger.upsert_desired(INDEX, desired("d0"))
    await agree()
    await ledger.upsert_all_desired(INDEX, [desired(f"d{number}", seq=2, gone=number == 3) for number in range(6)])
    await ledger.upsert_all_desired(INDEX, [desired(f"d{number}", seq=1) for number in range(7)])
    assert (await agree()).desired == 6
    rows = {row.desired.document: row for row in await ledger.take(INDEX, epoch=1, limit=10)}
    assert rows["d0"].desired.seq == 2
    await ledger.mark_indexed(INDEX, rows["d1"], epoch=1, chunks=3)
    await ledger.mark_indexed(INDEX, rows["d1"], epoch=1, chunks=3)
    await ledger.fail(INDEX, rows["d2"], epoch=1, message="no", final=False)
    await ledger.fail(INDEX, rows["d2"], epoch=1, message="no", final=True)
    await ledger.mark_indexed(INDEX, rows["d3"], epoch=1, chunks=0)
    assert await agree() == Counts(desired=6, indexed=1, failed=1, chunks=3, pending=4)
    await ledger.upsert_desired(INDEX, desired("d1", seq=3))
    await ledger.upsert_desired(INDEX, desired("d2", seq=3, gone=True))
    assert (await agree()).chunks == 3
    await ledger.reset(INDEX, ["d1"], epoch=2)
    await agree()
    await ledger.drop(INDEX)
    assert await agree() == Counts()


async def test_large_documents_are_taken_apart_from_the_others(ledger: Ledger) -> None:
    await ledger.upsert_desired(INDEX, desired("book", size=1001))
    await ledger.upsert_all_desired(INDEX, [desired("note"), desired("gone", gone=True)])

    for _ in range(2):
        assert {row.desired.document for row in await ledger.take(INDEX, epoch=1, limit=9)} == {"note", "gone"}
        [book] = await ledger.take(INDEX, epoch=1, limit=9, large=True)
        assert book.desired.document == "book"
        await ledger.mark_indexed(INDEX, book, epoch=1, chunks=9)
        assert await ledger.take(INDEX, epoch=1, limit=9, large=True) == []
        await ledger.reset(INDEX, ["book", "note"], epoch=1)


async def test_of_two_events_that_begin_a_row_at_the_same_moment_the_newer_counts(mongo_ledger: MongoLedger) -> None:
    for number in range(20):
        await asyncio.gather(
            *(mongo_ledger.upsert_desired(INDEX, desired(f"d{number}", seq=seq)) for seq in (3, 1, 2)),
            mongo_ledger.upsert_all_desired(INDEX, [desired(f"d{number}", seq=1)]),
        )

    rows = await mongo_ledger.rows(INDEX, [f"d{number}" for number in range(20)])
    assert {row.desired.seq for row in rows.values()} == {3}
    assert await counts(mongo_ledger) == await mongo_ledger.count(INDEX)


async def test_a_reset_takes_what_is_there_once_more_and_shows_it_meanwhile(ledger: Ledger) -> None:
    await ledger.upsert_desired(INDEX, desired())
    await ledger.upsert_desired(INDEX, desired("gone", gone=True))
    for row in await ledger.take(INDEX, epoch=1, limit=10):
        await ledger.mark_indexed(INDEX, row, epoch=1, chunks=4)

    await ledger.reset(INDEX, ["d1", "gone", "unknown"], epoch=2)

    [row] = await ledger.take(INDEX, epoch=2, limit=10)
    assert (row.desired.document, row.indexed_seq, row.again) == ("d1", 1, True)
    assert row.shows(1)
    assert not await ledger.mark_indexed(INDEX, row, epoch=1, chunks=4)
    assert await ledger.mark_indexed(INDEX, row, epoch=2, chunks=4)
    assert await ledger.take(INDEX, epoch=2, limit=10) == []


async def test_what_is_indexed_is_read_page_by_page_without_what_waits_or_is_gone(ledger: Ledger) -> None:
    for each in (desired("d1"), desired("d2"), desired("d3"), desired("gone", gone=True)):
        await ledger.upsert_desired(INDEX, each)
    for row in await ledger.take(INDEX, epoch=1, limit=10):
        if row.desired.document != "d3":
            await ledger.mark_indexed(INDEX, row, epoch=1, chunks=4)

    pages = [page async for page in ledger.indexed(INDEX)]

    assert sorted(row.desired.document for page in pages for row in page) == ["d1", "d2"]


async def test_another_index_version_is_independent(ledger: Ledger) -> None:
    await ledger.upsert_desired(INDEX, desired())
    await ledger.upsert_desired(OTHER, desired(seq=7))

    await ledger.drop(INDEX)

    assert await ledger.rows(INDEX, ["d1"]) == {}
    assert (await ledger.rows(OTHER, ["d1"]))["d1"].desired.seq == 7


async def test_no_more_rows_are_taken_than_asked_for(ledger: Ledger) -> None:
    for number in range(5):
        await ledger.upsert_desired(INDEX, desired(f"d{number}"))

    assert len(await ledger.take(INDEX, epoch=1, limit=3)) == 3


async def test_what_of_a_document_cannot_be_found_is_recorded_until_it_is_indexed_anew(ledger: Ledger) -> None:
    await ledger.upsert_desired(INDEX, desired())
    [row] = await ledger.take(INDEX, epoch=1, limit=10)
    assert await ledger.mark_indexed(INDEX, row, epoch=1, chunks=2, note="1 of 3 passages cannot be found")

    recorded = (await ledger.rows(INDEX, ["d1"]))["d1"]
    await ledger.upsert_desired(INDEX, desired(seq=2))
    [row] = await ledger.take(INDEX, epoch=1, limit=10)
    await ledger.mark_indexed(INDEX, row, epoch=1, chunks=3)

    assert (recorded.note, recorded.failure, recorded.pending) == ("1 of 3 passages cannot be found", "", False)
    assert (await counts(ledger)).failed == 0
    assert (await ledger.rows(INDEX, ["d1"]))["d1"].note == ""


async def test_rows_that_begin_and_are_marked_at_the_same_time_are_each_written_once(ledger: Ledger) -> None:
    names = [f"d{number}" for number in range(8)]
    first = [replace(desired(name), begins=True) for name in names]
    await ledger.upsert_desired(INDEX, replace(desired("d3", seq=2), begins=True))
    again = replace(desired("d5", seq=2), begins=True)

    begun = await asyncio.gather(*(ledger.upsert_desired(INDEX, each) for each in [*first, *first, again]))

    once = [first_time + again_then for first_time, again_then in zip(begun[:8], begun[8:16], strict=True)]
    assert once == [name != "d3" for name in names]
    assert begun[16]
    await ledger.upsert_desired(OTHER, desired())
    rows = {row.desired.document: row for row in await ledger.take(INDEX, epoch=1, limit=10)}
    [other] = await ledger.take(OTHER, epoch=1, limit=10)
    await ledger.upsert_desired(INDEX, desired("d2", seq=2))  # an event came meanwhile
    await ledger.take(INDEX, epoch=2, limit=10)
    await ledger.mark_indexed(INDEX, rows["d6"], epoch=2, chunks=1)

    async def mark(name: str, *, epoch: int = 2) -> bool:
        return await ledger.mark_indexed(INDEX, rows[name], epoch=epoch, chunks=2)

    marked = await asyncio.gather(
        ledger.mark_indexed(OTHER, other, epoch=1, chunks=3), mark("d1"), mark("d2"), mark("d4", epoch=1), mark("d7")
    )

    assert [*marked] == [True, True, False, False, True]
    counted = await counts(ledger)
    assert counted == Counts(desired=8, indexed=3, chunks=5, pending=5)
    assert await ledger.count(INDEX) == counted
    assert (await ledger.counts([OTHER]))[OTHER] == Counts(desired=1, indexed=1, chunks=3)


async def test_rows_of_sources_come_in_the_order_of_their_documents(ledger: Ledger) -> None:
    time = datetime(2026, 11, 30, 1, tzinfo=UTC)
    for document, source in (("d4", "cms"), ("d1", "cms"), ("d3", "wiki"), ("d2", "faq"), ("d5", "cms")):
        await ledger.upsert_desired(INDEX, replace(desired(document), source=source, version_time=time))
    await ledger.upsert_desired(INDEX, desired("d5", seq=2, gone=True))
    await ledger.upsert_desired(OTHER, desired("d0"))

    first = await ledger.first(INDEX, sources=["cms", "wiki"], after="", limit=2)
    rest = await ledger.first(INDEX, sources=["cms", "wiki"], after="d3", limit=2)

    assert [row.desired.document for row in first] == ["d1", "d3"]
    assert [row.desired.document for row in rest] == ["d4"]
    assert first[0].desired.version_time == time
