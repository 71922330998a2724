"""Leases in memory behave as those of the kit."""

import asyncio
from datetime import timedelta

import pytest

from tidemill_kit.workers.leases import LeaseLost
from tidemill_testkit.leases import InMemoryLeases


async def test_one_holder_at_a_time_has_a_job_each_with_the_next_epoch() -> None:
    leases = InMemoryLeases()
    async with leases.held("a") as first, leases.held("b") as other, leases.held("a") as second:
        assert first is not None
        assert other is not None
        assert second is None
    async with leases.held("a") as third:
        assert third is not None
        assert (first.epoch, third.epoch, leases.epoch("a"), leases.epoch("c")) == (1, 2, 2, 0)


@pytest.mark.parametrize("taken", [False, True])
async def test_a_holder_of_an_expired_lease_is_cancelled_and_releases_nothing_of_another(*, taken: bool) -> None:
    leases = InMemoryLeases(ttl=timedelta(seconds=0.03))

    async def work() -> None:
        async with leases.held("a"):
            leases.expire()
            assert not taken or await leases.acquire("a")
            await asyncio.Event().wait()

    with pytest.raises(LeaseLost):
        await work()
    assert (await leases.acquire("a") is None) == taken
