"""Two workers and one job, on the real store."""

import asyncio
from datetime import timedelta

import pytest

from libs.kit.tests.wire import wire_to
from tidemill_core.application import SystemClock
from tidemill_kit.store.mongo import Collection, Database, connect
from tidemill_kit.workers.leases import Lease, LeaseLost, Leases
from tidemill_local.addresses import Addresses
from tidemill_testkit.clocks import FixedClock

TTL = timedelta(seconds=30)
SHORT = timedelta(seconds=0.3)
"""The term of leases that are held in real time; their expiry by the clock never comes, because it stands still."""


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def jobs(database: Database) -> Collection:
    return database["jobs"]


def leases(jobs: Collection, clock: FixedClock, *, owner: str, ttl: timedelta = TTL) -> Leases:
    return Leases(jobs, owner=owner, ttl=ttl, clock=clock)


async def held_by(leases: Leases) -> Lease:
    lease = await leases.acquire("job")
    assert lease is not None
    return lease


async def fail_while_holding(leases: Leases, error: Exception) -> None:
    async with leases.held("job") as lease:
        assert lease is not None
        raise error


async def test_one_worker_at_a_time_holds_a_job(jobs: Collection, clock: FixedClock) -> None:
    ada, bob = leases(jobs, clock, owner="ada"), leases(jobs, clock, owner="bob")
    lease = await held_by(ada)

    assert (lease.job_id, lease.owner, lease.epoch, lease.expires_at) == ("job", "ada", 1, clock.now() + TTL)
    assert await bob.acquire("job") is None
    assert await ada.acquire("job") is None
    assert await bob.acquire("another job") is not None


async def test_a_lease_document_that_was_removed_leaves_its_epochs_below_those_of_the_next_one(
    jobs: Collection, clock: FixedClock
) -> None:
    ada = Leases(jobs, owner="ada", ttl=TTL, clock=clock, removable=True)
    await jobs.insert_one({"_id": "job", "lease": {"owner": "old", "epoch": 41, "expires_at": clock.now() - TTL}})
    epochs = []
    for _ in range(3):
        for _ in range(3):
            lease = await held_by(ada)
            epochs.append(lease.epoch)
            assert await jobs.find_one(lease.guard)
            await ada.release(lease)
        await jobs.delete_one({"_id": "job"})
        clock.advance(timedelta(days=1))

    assert epochs == sorted(set(epochs))
    assert epochs[0] == 42


async def test_the_server_may_remove_a_lease_document_a_day_after_its_end_and_no_job(
    database: Database, clock: FixedClock
) -> None:
    await leases(database["jobs"], clock, owner="ada").acquire("job")
    await Leases(database["leases"], owner="ada", ttl=TTL, clock=clock, removable=True).acquire("job")

    indexes = await database["leases"].index_information()
    assert [each.get("expireAfterSeconds") for each in indexes.values() if each["key"] != [("_id", 1)]] == [86400]
    assert not [name for name in await database["jobs"].index_information() if "expires_at" in name]


async def test_of_a_deleted_project_no_lease_document_stays(database: Database, clock: FixedClock) -> None:
    rows = database["leases"]
    ada = Leases(rows, owner="ada", ttl=TTL, clock=clock, removable=True, deleted={"gone"}.__contains__)

    for job in ("gone/job", "acme/job"):
        async with ada.held(job) as lease:
            assert lease is not None

    assert [each["_id"] async for each in rows.find({})] == ["acme/job"]


async def test_of_many_that_request_a_new_job_one_gets_it(jobs: Collection, clock: FixedClock) -> None:
    expected = await asyncio.gather(*(leases(jobs, clock, owner=f"w{n}").acquire("job") for n in range(8)))

    assert len([lease for lease in expected if lease]) == 1


async def test_of_many_that_request_an_expired_job_one_gets_it(jobs: Collection, clock: FixedClock) -> None:
    await held_by(leases(jobs, clock, owner="ada"))
    clock.advance(TTL)
    expected = await asyncio.gather(*(leases(jobs, clock, owner=f"w{n}").acquire("job") for n in range(8)))

    assert [lease.epoch for lease in expected if lease] == [2]


async def test_epochs_grow_with_every_holder_also_over_releases(jobs: Collection, clock: FixedClock) -> None:
    ada, bob = leases(jobs, clock, owner="ada"), leases(jobs, clock, owner="bob")
    epochs = []
    for number in range(6):
        worker = ada if number % 2 else bob
        lease = await held_by(worker)
        epochs.append(lease.epoch)
        if number < 3:
            await worker.release(lease)
        else:
            clock.advance(TTL)

    assert epochs == [1, 2, 3, 4, 5, 6]


async def test_a_lease_runs_out_by_the_clock_and_not_before(jobs: Collection, clock: FixedClock) -> None:
    ada, bob = leases(jobs, clock, owner="ada"), leases(jobs, clock, owner="bob")
    lease = await held_by(ada)
    clock.advance(TTL - timedelta(milliseconds=1))
    assert await bob.acquire("job") is None
    assert await ada.renew(lease)

    clock.advance(TTL - timedelta(milliseconds=1))
    assert await bob.acquire("job") is None
    clock.advance(timedelta(milliseconds=1))
    assert await bob.acquire("job") is not None


async def test_who_slept_through_a_lease_cannot_renew_it(jobs: Collection, clock: FixedClock) -> None:
    ada, bob = leases(jobs, clock, owner="ada"), leases(jobs, clock, owner="bob")
    lease = await held_by(ada)
    clock.advance(TTL)

    assert not await ada.renew(lease)
    taken = await held_by(bob)
    assert not await ada.renew(lease)
    await ada.release(lease)
    assert await bob.renew(taken)


@pytest.mark.parametrize("successor", ["bob", "ada"])
async def test_who_slept_through_a_lease_writes_nothing(
    jobs: Collection, clock: FixedClock, database: Database, successor: str
) -> None:
    ada, next_one = leases(jobs, clock, owner="ada"), leases(jobs, clock, owner=successor)
    results = database["results"]
    await results.insert_one({"_id": "r", "by": "none"})

    async def work(lease: Lease) -> tuple[int, int]:
        progress = await jobs.update_one(lease.guard, {"$set": {"progress": lease.owner}})
        result = {"$set": {"by": lease.owner, "epoch": lease.epoch}}
        written = await results.update_one({"_id": "r", **lease.fence}, result)
        return progress.matched_count, written.matched_count

    old = await held_by(ada)
    assert await work(old) == (1, 1)
    clock.advance(TTL)
    new = await held_by(next_one)
    assert await work(new) == (1, 1)

    assert await work(old) == (0, 0)
    assert await results.find_one({"_id": "r"}) == {"_id": "r", "by": successor, "epoch": 2}
    job = await jobs.find_one({"_id": "job"})
    assert job is not None
    assert job["progress"] == successor


async def test_a_job_that_was_written_before_it_was_first_held_can_be_held(jobs: Collection, clock: FixedClock) -> None:
    await jobs.insert_one({"_id": "job", "wanted": "index"})

    lease = await held_by(leases(jobs, clock, owner="ada"))

    assert lease.epoch == 1
    assert await leases(jobs, clock, owner="bob").acquire("job") is None
    job = await jobs.find_one({"_id": "job"})
    assert job is not None
    assert job["wanted"] == "index"


async def test_a_held_job_is_given_back_at_the_end_of_the_body_however_it_ends(
    jobs: Collection, clock: FixedClock
) -> None:
    ada, bob = leases(jobs, clock, owner="ada"), leases(jobs, clock, owner="bob")

    async with ada.held("job") as lease:
        assert lease is not None
        assert await bob.acquire("job") is None
        async with bob.held("job") as nothing:
            assert nothing is None
    with pytest.raises(KeyError):
        await fail_while_holding(bob, KeyError())
    assert (await held_by(ada)).epoch == 3


async def test_heartbeats_keep_a_held_job_longer_than_its_term(jobs: Collection) -> None:
    ttl = timedelta(seconds=1.5)
    ada = Leases(jobs, owner="ada", ttl=ttl, clock=SystemClock())
    bob = Leases(jobs, owner="bob", ttl=ttl, clock=SystemClock())
    loop = asyncio.get_running_loop()

    async with ada.held("job") as lease:
        until = loop.time() + 2 * ttl.total_seconds()
        while loop.time() < until:
            assert await bob.acquire("job") is None
            await asyncio.sleep(0.05)

    assert lease is not None
    assert not await ada.renew(lease)


async def test_the_body_is_stopped_when_another_worker_took_the_job(jobs: Collection, clock: FixedClock) -> None:
    term = timedelta(seconds=1.5)
    ada = leases(jobs, clock, owner="ada", ttl=term)
    later = FixedClock(clock.now() + term)
    stopped = False

    async def work() -> None:
        nonlocal stopped
        async with ada.held("job"):
            bobs = await held_by(leases(jobs, later, owner="bob"))
            try:
                await asyncio.Event().wait()
            finally:
                stopped = bobs.epoch == 2

    with pytest.raises(LeaseLost):
        await work()
    assert stopped
    job = await jobs.find_one({"_id": "job"})
    assert job is not None
    assert job["lease"]["owner"] == "bob"
    assert job["lease"]["expires_at"] == later.now() + TTL


async def test_the_body_is_stopped_after_a_term_without_an_answer_of_the_store(
    stack: Addresses, database: Database, clock: FixedClock
) -> None:
    async with wire_to(stack.mongo.removeprefix("mongodb://")) as wire:
        client = connect(f"mongodb://{wire.address}", timeout_s=0.4)
        ada = leases(
            client[database.name]["jobs"], clock, owner="ada", ttl=15 * SHORT
        )  # the driver takes 2.4 s to give up

        async def work() -> None:
            async with ada.held("job"):
                wire.hang()
                await asyncio.Event().wait()

        with pytest.raises(LeaseLost):
            await work()
        client.close()


async def test_a_time_out_of_the_body_itself_is_no_lost_lease(jobs: Collection, clock: FixedClock) -> None:
    with pytest.raises(TimeoutError):
        await fail_while_holding(leases(jobs, clock, owner="ada"), TimeoutError())


async def test_a_cancelled_worker_stays_cancelled_and_gives_the_job_back(jobs: Collection, clock: FixedClock) -> None:
    ada = leases(jobs, clock, owner="ada")
    working = asyncio.Event()

    async def work() -> None:
        async with ada.held("job"):
            working.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await working.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await ada.acquire("job") is not None


async def test_a_project_is_busy_while_a_worker_holds_one_of_its_jobs(jobs: Collection, clock: FixedClock) -> None:
    ada = leases(jobs, clock, owner="ada")
    lease = await ada.acquire("acme/1")
    assert lease is not None
    await ada.acquire("acme-2/1")

    assert [await ada.busy(name) for name in ("acme", "acme-2", "acm", "globex")] == [True, True, False, False]
    await ada.release(lease)
    assert not await ada.busy("acme")
    clock.advance(TTL)
    assert not await ada.busy("acme-2")
