"""A queue for places that is fair to projects and to their end users."""

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest

from tidemill_kit.workers.fair_queue import FairQueue, QueueFull, QueueLimits, Share

LIGHT, HEAVY = Share(project="light"), Share(project="heavy")


class Running:
    """Work that holds its place until the test ends it."""

    def __init__(self, queue: FairQueue) -> None:
        self.queue = queue
        self.order: list[Share] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.ends: list[tuple[Share, asyncio.Event]] = []

    async def add(self, *shares: Share) -> None:
        for share in shares:
            self.tasks.append(asyncio.create_task(self._work(share)))
            await asyncio.sleep(0)

    async def end(self, share: Share | None = None) -> None:
        found = next(each for each in self.ends if share in (None, each[0]))
        self.ends.remove(found)
        found[1].set()
        for _ in range(5):
            await asyncio.sleep(0)

    async def finish(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    @property
    def now(self) -> Counter[str]:
        return Counter(share.project for share, _ in self.ends)

    async def _work(self, share: Share) -> None:
        async with self.queue.place(share):
            self.order.append(share)
            ended = asyncio.Event()
            self.ends.append((share, ended))
            await ended.wait()


def queue_of(
    places: int, *, weight: Callable[[str], float] = lambda _: 1.0, of_project: int = 0, **limits: float
) -> FairQueue:
    return FairQueue("answers", QueueLimits(places=places, of_project=of_project, **limits), weight=weight)  # type: ignore[arg-type]


async def test_a_project_that_has_less_than_its_share_gets_the_next_place_however_many_of_another_wait() -> None:
    running = Running(queue_of(4))
    await running.add(*[HEAVY] * 40, LIGHT)

    await running.end()

    assert running.order[-1] == LIGHT
    assert running.now == {"heavy": 3, "light": 1}
    await running.finish()


async def test_projects_that_could_use_all_places_get_them_by_their_weight() -> None:
    running = Running(queue_of(6, weight=lambda project: 2.0 if project == "heavy" else 1.0))
    await running.add(*[HEAVY] * 40, *[LIGHT] * 40)

    for _ in range(30):
        await running.end()

    assert running.now == {"heavy": 4, "light": 2}
    await running.finish()


async def test_the_users_of_a_project_share_its_places() -> None:
    running = Running(queue_of(2))
    loud, quiet = Share(project="heavy", end_user="loud"), Share(project="heavy", end_user="quiet")
    await running.add(*[loud] * 20, quiet)

    await running.end()

    assert running.order[-1] == quiet
    await running.finish()


async def test_work_of_half_the_weight_gets_half_of_the_places() -> None:
    running = Running(queue_of(6))
    batch, live = Share(project="a", weight=0.5), Share(project="b")
    await running.add(*[batch] * 40, *[live] * 40)

    for _ in range(30):
        await running.end()

    assert running.now == {"a": 2, "b": 4}
    await running.finish()


async def test_one_project_leaves_the_places_beyond_its_own_to_the_others() -> None:
    running = Running(queue_of(4, of_project=3))
    await running.add(*[HEAVY] * 10)
    assert running.now == {"heavy": 3}

    await running.add(LIGHT)

    assert running.now == {"heavy": 3, "light": 1}
    await running.finish()


async def test_one_too_many_is_refused_with_its_position_and_when_to_come_again() -> None:
    running = Running(queue_of(1, waiting_of_project=2))
    await running.add(*[HEAVY] * 3)

    with pytest.raises(QueueFull, match=r"2 requests of this project wait, its limit: position 3") as refused:
        async with running.queue.place(HEAVY):
            pass

    assert refused.value.metadata["position"] == "3"
    assert refused.value.retry_after_s >= 1
    await running.finish()


async def test_all_projects_together_may_wait_only_so_many() -> None:
    running = Running(queue_of(1, waiting=2))
    await running.add(*[HEAVY] * 3)

    with pytest.raises(QueueFull, match="2 requests wait in this process"):
        async with running.queue.place(LIGHT):
            pass
    await running.finish()


async def test_a_wait_that_lasts_too_long_is_refused_and_leaves_the_queue() -> None:
    running = Running(queue_of(1, max_wait_s=0.01))
    await running.add(HEAVY)

    with pytest.raises(QueueFull, match=r"all 1 answers are taken, and none was free within 0\.01 s"):
        async with running.queue.place(LIGHT):
            pass

    assert running.queue.waiting == 0
    await running.end()
    assert running.queue.held == 0


async def test_a_wait_that_is_expected_to_last_too_long_is_refused_at_once() -> None:
    running = Running(queue_of(1, max_wait_s=0.02))
    async with running.queue.place(HEAVY):
        await asyncio.sleep(0.05)
    await running.add(HEAVY)

    with pytest.raises(QueueFull, match="the wait would be about"):
        async with running.queue.place(LIGHT):
            pass
    await running.finish()


async def test_the_wait_for_a_place_of_the_project_is_expected_by_the_places_that_it_may_have() -> None:
    running = Running(queue_of(8, of_project=1, waiting_of_project=1, max_wait_s=60))
    async with running.queue.place(HEAVY):
        await asyncio.sleep(0.2)
    await running.add(*[HEAVY] * 2)

    with pytest.raises(QueueFull, match="all 1 answers that one project may have are taken, and 1 requests") as refused:
        async with running.queue.place(HEAVY):
            pass

    assert float(refused.value.metadata["expected_wait_s"]) >= 0.4
    await running.finish()


async def test_who_leaves_while_waiting_takes_no_place() -> None:
    running = Running(queue_of(1))
    await running.add(HEAVY, LIGHT, HEAVY)

    running.tasks[1].cancel()
    await running.end()

    assert running.order == [HEAVY, HEAVY]
    await running.finish()
    assert (running.queue.held, running.queue.waiting) == (0, 0)


async def test_who_is_cancelled_in_the_moment_of_getting_a_place_gives_it_on() -> None:
    running = Running(queue_of(1))
    await running.add(HEAVY, LIGHT, HEAVY)

    running.ends[0][1].set()
    await asyncio.sleep(0)  # the place goes to the second
    await asyncio.sleep(0)
    running.tasks[1].cancel()
    for _ in range(5):
        await asyncio.sleep(0)

    assert running.queue.held == 1
    assert running.order[-1] == HEAVY
    await running.finish()


async def test_nothing_is_kept_of_projects_that_have_ended() -> None:
    queue = queue_of(2)
    for number in range(50):
        async with queue.place(Share(project=f"p{number}", end_user=f"u{number}", weight=0.3)):
            pass

    assert not any(vars(queue)[name] for name in ("_loads", "_counts", "_lines", "_total"))
