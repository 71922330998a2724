"""One contract for the ledger in memory, which tests use, and the one in MongoDB."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from services.feedback.tests.builders import SFT
from services.feedback.tests.fakes import InMemoryLedger
from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import PageRequest
from tidemill_feedback.curations.domain.ledger import Begun, CandidateExample, Counts, CurationRef, Row, Tally
from tidemill_feedback.curations.domain.measures import Measures
from tidemill_feedback.curations.mongo_ledger import MongoLedger
from tidemill_feedback.curations.ports import Ledger
from tidemill_feedback.errors import EpochOver
from tidemill_kit.store import mongo
from tidemill_local import Addresses
from tidemill_testkit.clocks import NOON
from tidemill_testkit.races import LostRace
from tidemill_testkit.stack import unique_name

OTHER = CurationRef("acme", "sft2", 1)
AGAIN = CurationRef("acme", "sft", 2)


@pytest.fixture
async def database(stack: Addresses) -> AsyncIterator[mongo.Database]:
    client = mongo.connect(stack.mongo, timeout_s=10)
    database = client[unique_name("feedback")]
    yield database
    await client.drop_database(database.name)
    client.close()


@pytest.fixture
async def mongo_ledger(database: mongo.Database) -> MongoLedger:
    ledger = MongoLedger(database["examples"], database["counts"])
    await ledger.ensure_indexes()
    return ledger


@pytest.fixture(params=["memory", "mongo"])
def ledger(request: pytest.FixtureRequest) -> Ledger:
    chosen: Ledger = InMemoryLedger() if request.param == "memory" else request.getfixturevalue("mongo_ledger")
    return chosen


def candidate(feedback: str = "f1", *, seq: int = 1) -> CandidateExample:
    return CandidateExample(
        feedback=feedback,
        seq=seq,
        inference="i1",
        deployment="helpdesk",
        end_user="u1",
        observe_time=NOON + timedelta(minutes=seq),
    )


async def the_row(ledger: Ledger, feedback: str = "f1") -> Row:
    [row] = [row for row in await ledger.rows(SFT) if row.candidate.feedback == feedback]
    return row


@pytest.mark.parametrize(("first", "second"), [(1, 3), (3, 1)])
async def test_of_two_events_that_begin_a_row_at_the_same_moment_the_newer_one_stays(
    mongo_ledger: MongoLedger, database: mongo.Database, first: int, second: int
) -> None:
    rows: Any = LostRace(database["examples"], lambda: mongo_ledger.upsert_correction(SFT, candidate(seq=first)))

    assert await MongoLedger(rows, database["counts"]).upsert_correction(SFT, candidate(seq=second)) is (second > first)

    assert (await the_row(mongo_ledger)).candidate.seq == 3


async def test_what_is_desired_comes_back_whole_and_keeps_its_place_in_the_line(ledger: Ledger) -> None:
    assert await ledger.upsert_correction(SFT, candidate())
    assert not await ledger.upsert_correction(SFT, candidate())
    assert await ledger.upsert_correction(SFT, candidate(seq=3))
    assert not await ledger.upsert_correction(SFT, candidate(seq=2))

    row = await the_row(ledger)

    assert row == Row(candidate=candidate(seq=3), first_time=NOON + timedelta(minutes=1))
    assert row.pending
    assert not await ledger.rows(OTHER)


async def test_a_row_is_finished_for_what_is_desired_now_by_the_latest_holder(ledger: Ledger) -> None:
    await ledger.upsert_correction(SFT, candidate())
    old = await the_row(ledger)
    await ledger.upsert_correction(SFT, candidate(seq=2))
    row = await the_row(ledger)

    assert not await ledger.resolve(SFT, old, epoch=2, chars=5)
    assert await ledger.resolve(SFT, row, epoch=2, chars=6)
    assert not await ledger.resolve(SFT, row, epoch=1, chars=7)

    finished = await the_row(ledger)
    assert (finished.resolved_seq, finished.chars, finished.pending) == (2, 6, False)


async def test_a_row_is_opened_again_for_what_is_desired_now_by_the_latest_holder(ledger: Ledger) -> None:
    await ledger.upsert_correction(SFT, candidate())
    await ledger.resolve(SFT, await the_row(ledger), epoch=2, chars=6)
    row = await the_row(ledger)

    assert not await ledger.reopen(SFT, row, epoch=1)
    assert not (await the_row(ledger)).pending
    assert await ledger.reopen(SFT, row, epoch=2)

    assert (await the_row(ledger)).pending


async def test_failures_are_counted_until_the_last_and_forgotten_by_what_is_desired_next(ledger: Ledger) -> None:
    await ledger.upsert_correction(SFT, candidate())
    assert await ledger.fail(SFT, await the_row(ledger), epoch=1, message="A", final=False)
    assert (await the_row(ledger)).pending
    assert await ledger.fail(SFT, await the_row(ledger), epoch=1, message="B", final=True)

    failed = await the_row(ledger)
    assert (failed.attempts, failed.failure, failed.pending) == (2, "B", False)
    await ledger.upsert_correction(SFT, candidate(seq=2))
    assert (await the_row(ledger)).pending


async def test_tags_name_the_first_completion_and_those_of_a_try_in_vain_are_taken_off(ledger: Ledger) -> None:
    for number in range(4):
        await ledger.upsert_correction(SFT, candidate(f"f{number}"))
        await ledger.upsert_correction(OTHER, candidate(f"f{number}"))

    await ledger.tag(SFT, ["f0"], completion=1, epoch=1)
    await ledger.tag(SFT, ["f0", "f1", "f2"], completion=2, epoch=1)
    await ledger.tag(SFT, ["f0", "f2", "f3"], completion=2, epoch=2)

    tags = {row.candidate.feedback: row.completion for row in await ledger.rows(SFT)}
    assert tags == {"f0": 1, "f1": 0, "f2": 2, "f3": 2}
    assert {row.completion for row in await ledger.rows(OTHER)} == {0}


async def test_an_earlier_holder_of_the_lease_tags_nothing(ledger: Ledger) -> None:
    await ledger.upsert_correction(SFT, candidate())
    await ledger.resolve(SFT, await the_row(ledger), epoch=5, chars=3)

    with pytest.raises(EpochOver):
        await ledger.tag(SFT, ["f1"], completion=1, epoch=4)

    assert (await the_row(ledger)).completion == 0


async def test_counts_are_kept_for_the_latest_holder_and_dropped_with_the_rows(ledger: Ledger) -> None:
    assert (await ledger.tally(SFT)).counts == Counts()
    await ledger.upsert_correction(SFT, candidate())
    await ledger.record_counts(SFT, Tally(counts=Counts(examples=2, new=1)), epoch=3)
    await ledger.record_counts(SFT, Tally(counts=Counts(examples=9)), epoch=2)
    assert (await ledger.tally(SFT)).counts == Counts(examples=2, new=1)

    await ledger.drop(SFT)

    assert (await ledger.tally(SFT)).counts == Counts()
    assert not await ledger.rows(SFT)


async def test_it_lists_the_incarnations_of_which_rows_are_kept(ledger: Ledger) -> None:
    await ledger.upsert_correction(SFT, candidate("f1"))
    await ledger.upsert_correction(SFT, candidate("f2"))
    await ledger.record_counts(SFT, Tally(counts=Counts(examples=2)), epoch=1)
    await ledger.record_counts(AGAIN, Tally(counts=Counts(examples=1)), epoch=1)
    await ledger.upsert_correction(OTHER, candidate())

    assert set(await ledger.kept()) == {SFT, AGAIN, OTHER}
    assert len(await ledger.kept()) == 3
    await ledger.drop(AGAIN)

    assert set(await ledger.kept()) == {SFT, OTHER}


async def test_what_is_kept_for_a_curation_that_was_created_again_outlives_a_late_drop(ledger: Ledger) -> None:
    await ledger.upsert_correction(SFT, candidate())
    assert await ledger.upsert_correction(AGAIN, candidate())
    await ledger.record_counts(AGAIN, Tally(counts=Counts(examples=1)), epoch=4)

    await ledger.drop(SFT)

    assert [row.candidate for row in await ledger.rows(AGAIN)] == [candidate()]
    assert await ledger.counts([SFT, AGAIN]) == {AGAIN: Counts(examples=1)}
    assert not await ledger.rows(SFT)


async def test_rows_of_feedback_that_is_gone_are_forgotten_everywhere_and_reported_where_they_are_to_be_tagged(
    ledger: Ledger,
) -> None:
    for ref in (SFT, OTHER):
        await ledger.upsert_correction(ref, candidate("f1"))
        await ledger.upsert_correction(ref, candidate("f2"))
    assert await ledger.tag(SFT, ["f1", "f2"], completion=1, epoch=1)

    await ledger.forget({"f1": 1})
    await ledger.forget({})

    assert [row.candidate.feedback for ref in (SFT, OTHER) for row in await ledger.rows(ref)] == ["f2", "f2"]
    assert not await ledger.tag(SFT, ["f1", "f2"], completion=2, epoch=1)


async def test_it_reports_what_changed_and_what_waits_without_the_rows(ledger: Ledger) -> None:
    assert (await ledger.tally(SFT), await ledger.pending_curations(NOON)) == (Tally(), [])
    await ledger.upsert_correction(SFT, candidate("f1"))
    await ledger.upsert_correction(SFT, candidate("f2"))
    assert {row.candidate.feedback for row in await ledger.pending(SFT, limit=9)} == {"f1", "f2"}
    assert len(await ledger.pending(SFT, limit=1)) == 1
    assert await ledger.pending_curations(NOON) == [SFT]
    seen = await ledger.tally(SFT)
    await ledger.upsert_correction(SFT, candidate("f2"))

    recorded = replace(seen, counts=Counts(new=2), seen=seen.changes, rows=2, version=7)
    await ledger.record_counts(SFT, recorded, epoch=1)
    assert await ledger.pending_curations(NOON) == [SFT], "something came since"
    now = await ledger.tally(SFT)
    assert now == replace(recorded, changes=now.changes)
    await ledger.record_counts(SFT, replace(recorded, seen=now.changes), epoch=1)
    await ledger.record_listed(SFT, deployments=2, token="abc", epoch=1)  # noqa: S106 - of a page
    assert await ledger.pending_curations(NOON) == []
    assert ((await ledger.tally(SFT)).listed, (await ledger.tally(SFT)).deployments) == ("abc", 2)

    await ledger.resolve(SFT, await the_row(ledger), epoch=1, chars=3)
    await ledger.fail(SFT, await the_row(ledger, "f2"), epoch=1, message="A", final=False)
    assert [row.candidate.feedback for row in await ledger.pending(SFT, limit=9)] == ["f2"]
    await ledger.fail(SFT, await the_row(ledger, "f2"), epoch=1, message="A", final=True)
    assert await ledger.pending(SFT, limit=9) == []
    await ledger.reopen(SFT, await the_row(ledger), epoch=1)
    assert len(await ledger.pending(SFT, limit=9)) == 1
    await ledger.forget({"f1": 2})
    assert await ledger.pending_curations(NOON) == [SFT]


async def test_a_row_of_what_was_said_since_is_neither_forgotten_nor_excluded(ledger: Ledger) -> None:
    await ledger.upsert_correction(SFT, candidate(seq=3))

    await ledger.forget({"f1": 2})
    await ledger.exclude("f1", seq=2)

    assert (await the_row(ledger)) == Row(candidate=candidate(seq=3), first_time=NOON + timedelta(minutes=3))


async def test_of_what_is_withdrawn_the_completion_stays_and_counts_when_it_is_said_anew(ledger: Ledger) -> None:
    for ref in (SFT, OTHER):
        await ledger.upsert_correction(ref, candidate())
    await ledger.resolve(SFT, await the_row(ledger), epoch=1, chars=3)
    await ledger.tag(SFT, ["f1"], completion=1, epoch=1)
    seen = {ref: (await ledger.tally(ref)).changes for ref in (SFT, OTHER)}

    await ledger.exclude("f1", seq=2)

    row = await the_row(ledger)
    assert (row.withdrawn, row.pending, row.completion, row.candidate.seq) == (True, False, 1, 2)
    assert await ledger.pending(SFT, limit=9) == []
    assert [(await ledger.tally(ref)).changes - seen[ref] for ref in (SFT, OTHER)] == [1, 1]
    assert not await ledger.upsert_correction(SFT, candidate(seq=1))
    assert not await ledger.tag(SFT, ["f1"], completion=2, epoch=1)
    assert await ledger.upsert_correction(SFT, candidate(seq=3))
    again = await the_row(ledger)
    assert (again.withdrawn, again.pending, again.completion) == (False, True, 1)


async def test_what_is_refused_is_listed_by_its_time_in_both_orders_and_by_reason(ledger: Ledger) -> None:
    for number in range(5):
        await ledger.upsert_correction(
            SFT, replace(candidate(f"f{number}"), observe_time=NOON + timedelta(days=number))
        )
        measures = Measures(question="q", answer=f"a{number}", signature=bytes(range(128)), cohort="de")
        await ledger.resolve(SFT, await the_row(ledger, f"f{number}"), epoch=1, chars=3, measures=measures)
    assert (await the_row(ledger, "f1")).measures == Measures(
        question="q", answer="a1", signature=bytes(range(128)), cohort="de"
    )
    refusals = {"f1": "CONTRADICTED", "f2": "USER_SHARE", "f3": "CONTRADICTED", "f4": "CONTRADICTED"}

    await ledger.record_refusals(SFT, refusals, epoch=2)
    await ledger.record_refusals(SFT, {"f4": ""}, epoch=2)
    await ledger.record_refusals(SFT, {"f3": ""}, epoch=1)

    assert [row.candidate.feedback for row in await listed(ledger)] == ["f1", "f2", "f3"]
    assert [row.refusal for row in await listed(ledger)] == ["CONTRADICTED", "USER_SHARE", "CONTRADICTED"]
    assert [row.candidate.feedback for row in await listed(ledger, newest_first=True)] == ["f3", "f2", "f1"]
    assert [row.candidate.feedback for row in await listed(ledger, refusal="CONTRADICTED")] == ["f1", "f3"]
    assert [row.candidate.feedback for row in await listed(ledger, newest_first=True, refusal="CONTRADICTED")] == [
        "f3",
        "f1",
    ]
    assert (await ledger.refused(OTHER, PageRequest())).items == []


async def test_what_is_corrected_anew_or_withdrawn_is_not_refused_any_more(ledger: Ledger) -> None:
    for name in ("f1", "f2"):
        await ledger.upsert_correction(SFT, candidate(name))
        measures = Measures(question="q", answer="a")
        await ledger.resolve(SFT, await the_row(ledger, name), epoch=1, chars=3, measures=measures)
    await ledger.record_refusals(SFT, {"f1": "CONTRADICTED", "f2": "CONTRADICTED"}, epoch=1)

    await ledger.upsert_correction(SFT, candidate("f1", seq=2))
    await ledger.record_refusals(SFT, {"f1": "CONTRADICTED"}, epoch=1)
    await ledger.exclude("f2", seq=2)

    assert await listed(ledger) == []
    assert (await the_row(ledger, "f2")).measures is None


async def listed(ledger: Ledger, *, newest_first: bool = False, **where: str) -> list[Row]:
    """Return what is refused, in pages of one."""
    rows, token = list[Row](), ""
    while True:
        page = await ledger.refused(SFT, PageRequest(size=1, token=token, newest_first=newest_first, where=where))
        rows += page.items
        token = page.next_token
        if not token:
            return rows


async def test_an_incarnation_is_found_when_it_is_due_and_not_before(ledger: Ledger) -> None:
    await ledger.record_due(SFT, NOON, epoch=2)
    assert (await ledger.tally(SFT)).due == NOON
    assert await ledger.pending_curations(NOON - timedelta(seconds=1)) == []
    assert await ledger.pending_curations(NOON) == [SFT]

    await ledger.record_due(SFT, None, epoch=1)
    assert await ledger.pending_curations(NOON) == [SFT], "a later worker knows better"
    await ledger.record_due(SFT, None, epoch=2)
    assert await ledger.pending_curations(NOON) == []


async def test_a_batch_that_is_about_to_be_written_is_found_until_it_is_completed_or_gone(ledger: Ledger) -> None:
    begun = Begun(object=ObjectRef(bucket="batches", key="acme/sft/0", size=1, sha256="0"), completion=1)
    assert (await ledger.tally(SFT)).batch is None
    await ledger.record_batch(SFT, begun, epoch=2)
    assert (await ledger.tally(SFT)).batch == begun
    assert await ledger.pending_curations(NOON) == [SFT]
    with pytest.raises(EpochOver):
        await ledger.record_batch(SFT, None, epoch=1)
    await ledger.record_batch(SFT, None, epoch=2)
    assert (await ledger.tally(SFT)).batch is None
    assert await ledger.pending_curations(NOON) == []
