"""Work that is done once for all who ask for it at the same time."""

import asyncio

import pytest

from tidemill_core.single_flight import SingleFlight


class Reading:
    """Reads a number that goes up, once it may."""

    def __init__(self) -> None:
        self.flight = SingleFlight[str, int]("read")
        self.gate = asyncio.Event()
        self.reads = 0
        self.current: dict[int, bool] = {}
        """Whether each reading was the current one when it ended."""
        self.fails = False

    async def read(self) -> int:
        self.reads += 1
        read = self.reads
        await self.gate.wait()
        self.current[read] = self.flight.is_current("a")
        if self.fails:
            raise ValueError(read)
        return read

    async def asked(self, count: int) -> list[asyncio.Task[int]]:
        """Return callers that wait."""
        tasks = [asyncio.create_task(self.flight("a", self.read)) for _ in range(count)]
        await asyncio.sleep(0)
        return tasks


async def test_those_who_ask_at_the_same_time_get_one_result_and_those_who_come_later_another() -> None:
    reading = Reading()
    tasks = await reading.asked(3)
    reading.gate.set()

    assert await asyncio.gather(*tasks) == [1, 1, 1]
    assert await reading.flight("a", reading.read) == 2


async def test_all_get_the_error_and_the_next_one_tries_again() -> None:
    reading = Reading()
    reading.fails = True
    tasks = await reading.asked(2)
    reading.gate.set()

    for task in tasks:
        with pytest.raises(ValueError, match="1"):
            await task
    reading.fails = False
    assert await reading.flight("a", reading.read) == 2


async def test_a_caller_that_leaves_ends_it_for_no_other() -> None:
    reading = Reading()
    first, second = await reading.asked(2)
    first.cancel()
    await asyncio.wait([first])
    reading.gate.set()

    assert await second == 1


@pytest.mark.parametrize("everything", [True, False])
async def test_what_is_forgotten_ends_for_its_callers_and_others_begin_anew(*, everything: bool) -> None:
    reading = Reading()
    before = await reading.asked(1)
    if everything:
        reading.flight.forget_all()
    else:
        reading.flight.forget("a")
    after = await reading.asked(2)
    reading.gate.set()

    assert await asyncio.gather(*before, *after) == [1, 2, 2]
    assert reading.current == {1: False, 2: True}
