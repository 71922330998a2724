"""What comes one after the other goes on in rounds."""

import asyncio

from tidemill_kit.workers.rounds import Rounds
from tidemill_testkit.polling import eventually


class Joining:
    """Tasks that join, and the order in which they went on."""

    def __init__(self, rounds: Rounds) -> None:
        self._rounds = rounds
        self.gone_on: list[int] = []

    async def begun(self, *numbers: int) -> list[asyncio.Task[None]]:
        async def one(number: int) -> None:
            await self._rounds.join()
            self.gone_on.append(number)

        tasks = [asyncio.create_task(one(number)) for number in numbers]
        for _ in range(3):
            await asyncio.sleep(0)
        return tasks


async def test_what_comes_after_a_pause_goes_on_at_once_and_what_comes_then_waits_for_the_next_round() -> None:
    joining = Joining(Rounds(every_s=3600, full=10))

    await joining.begun(1)
    waiting = await joining.begun(2, 3)

    assert joining.gone_on == [1]
    for each in waiting:
        each.cancel()


async def test_all_that_waits_goes_on_when_the_next_round_begins() -> None:
    joining = Joining(Rounds(every_s=0.01, full=10))

    await joining.begun(1, 2, 3)
    await eventually(lambda: joining.gone_on == [1, 2, 3])
    await asyncio.sleep(0)
    await joining.begun(4)
    await eventually(lambda: joining.gone_on == [1, 2, 3, 4])


async def test_a_round_that_is_full_begins_early() -> None:
    joining = Joining(Rounds(every_s=3600, full=3))

    await joining.begun(1)
    await joining.begun(2, 3)
    assert joining.gone_on == [1]
    await joining.begun(4)

    assert sorted(joining.gone_on) == [1, 2, 3, 4]


async def test_one_that_is_cancelled_while_it_waits_holds_up_no_other() -> None:
    joining = Joining(Rounds(every_s=3600, full=3))
    await joining.begun(1)
    (leaving,) = await joining.begun(2)
    leaving.cancel()

    await joining.begun(3, 4)

    assert sorted(joining.gone_on) == [1, 3, 4]


async def test_at_the_end_all_go_on_without_a_pause() -> None:
    rounds = Rounds(every_s=3600, full=10)
    joining = Joining(rounds)
    await joining.begun(1, 2)

    rounds.end()
    await joining.begun(3)

    assert joining.gone_on == [1, 2, 3]
