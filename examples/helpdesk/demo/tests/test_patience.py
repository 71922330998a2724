"""Requests of the demo on a machine that is too busy for them."""

import asyncio

import pytest

from tidemill_core.errors import DeadlineExceeded, NotFound
from tidemill_helpdesk.patience import for_each


async def test_a_request_that_ran_into_its_deadline_is_sent_again_with_half_as_many_at_the_same_time() -> None:
    answered, running, maximum = list[int](), 0, list[int]()

    async def work(item: int) -> None:
        nonlocal running
        running += 1
        maximum.append(running)
        try:
            await asyncio.sleep(0)
            if running > 3:
                message = "too many at the same time"
                raise DeadlineExceeded(message)
            answered.append(item)
        finally:
            running -= 1

    await for_each(range(40), work, max_concurrent=16)

    assert sorted(answered) == list(range(40))
    assert max(maximum) == 16
    assert max(maximum[-10:]) <= 3


async def test_an_error_other_than_a_deadline_is_not_tried_again() -> None:
    tried = list[int]()

    async def work(item: int) -> None:
        tried.append(item)
        message = "not to be had"
        raise NotFound(message)

    with pytest.raises(ExceptionGroup) as refused:
        await for_each([1], work, max_concurrent=2)

    assert refused.group_contains(NotFound)
    assert tried == [1]
