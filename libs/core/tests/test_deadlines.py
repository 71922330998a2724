"""Deadlines of callers, and work that several of them wait for."""

import asyncio

from tidemill_core.deadlines import begin_shared, bind_deadline, remaining_s


async def test_what_a_call_starts_keeps_to_its_deadline_and_what_is_shared_does_not() -> None:
    async def left() -> float:
        return remaining_s(60)

    bind_deadline(0.5)

    assert await asyncio.create_task(left()) <= 0.5
    assert await begin_shared(left(), name="shared") == 60
    assert remaining_s(60) <= 0.5
