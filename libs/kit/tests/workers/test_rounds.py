"""What comes one after the other goes on in rounds."""

from tidemill_kit.workers.rounds import Rounds
from tidemill_testkit.polling import eventually


class Joining:
    """What joins, and the order in which it went on."""

    def __init__(self, *, every_s: float, full: int) -> None:
        self.gone_on: list[int] = []
        self.rounds = Rounds(self.gone_on.append, every_s=every_s, full=full)

    def join(self, *numbers: int) -> None:
        for number in numbers:
            self.rounds.join(number)


async def test_what_comes_after_a_pause_goes_on_at_once_and_what_comes_then_waits_for_the_next_round() -> None:
    joining = Joining(every_s=3600, full=10)

    joining.join(1, 2, 3)

    assert joining.gone_on == [1]


async def test_all_that_waits_goes_on_when_the_next_round_begins() -> None:
    joining = Joining(every_s=0.01, full=10)

    joining.join(1, 2, 3)
    await eventually(lambda: joining.gone_on == [1, 2, 3])
    joining.join(4)
    await eventually(lambda: joining.gone_on == [1, 2, 3, 4])


async def test_a_round_that_is_full_begins_early_each_time() -> None:
    joining = Joining(every_s=3600, full=3)

    joining.join(1, 2, 3)
    assert joining.gone_on == [1]
    joining.join(4)
    assert joining.gone_on == [1, 2, 3, 4]
    joining.join(5, 6, 7, 8)

    assert joining.gone_on == [1, 2, 3, 4, 5, 6, 7]


async def test_at_the_end_all_go_on_without_a_pause() -> None:
    joining = Joining(every_s=3600, full=10)
    joining.join(1, 2)

    joining.rounds.end()
    joining.join(3)

    assert joining.gone_on == [1, 2, 3]
