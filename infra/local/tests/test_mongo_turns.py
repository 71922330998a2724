"""Who has a lock next."""

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tidemill_local.mongo_turns import LONGEST_TURN_S, Turns, in_turns
from tidemill_testkit.polling import eventually

WAIT_S = 20.0


async def test_who_gives_the_lock_back_and_takes_it_again_comes_after_those_who_wait() -> None:
    turns, order = Turns(), list[str]()

    def write(name: str) -> None:
        with turns:
            order.append(name)

    with ThreadPoolExecutor(max_workers=3) as threads:
        with turns:
            others = [threads.submit(write, "first")]
            await eventually(lambda: turns.waiting == 1)
            others.append(threads.submit(write, "second"))
            await eventually(lambda: turns.waiting == 2)
        write("again")
        for other in others:
            other.result(WAIT_S)

    assert order == ["first", "second", "again"]


def test_one_thread_at_a_time_has_the_lock() -> None:
    turns, inside, seen = Turns(), [0], list[int]()

    def count() -> None:
        for _ in range(50):
            with turns:
                inside[0] += 1
                seen.append(inside[0])
                inside[0] -= 1

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)

    assert seen == [1] * 400


def test_the_lock_is_given_back_after_an_error() -> None:
    turns = Turns()
    with pytest.raises(KeyError), turns:
        raise KeyError
    with turns:
        assert turns.waiting == 0


@pytest.mark.parametrize(
    ("waits_s", "turns"),
    [
        ((0.0,) * 6, [1] * 6),
        ((0.02, 0.03, 0.0), [2, 3, 1]),
        ((9.0, 0.0), [5, 1]),
    ],
    ids=["not waited", "waited", "waited long"],
)
def test_a_turn_lasts_as_long_as_was_waited_for_it_and_one_part_at_least(
    waits_s: tuple[float, ...], turns: list[int]
) -> None:
    now, waits, made = [0.0], list(waits_s), list[int]()

    @contextmanager
    def turn() -> Iterator[None]:
        now[0] += waits.pop(0)
        made.append(0)
        yield

    def make(_: int) -> None:
        now[0] = round(now[0] + LONGEST_TURN_S / 5, 6)
        made[-1] += 1

    in_turns(deque(range(6)), make, turn, clock=lambda: now[0])

    assert made == turns


def test_what_a_part_takes_away_is_not_done_and_takes_no_turn() -> None:
    turns, ahead, done = list[str](), deque(range(4)), list[int]()

    @contextmanager
    def turn() -> Iterator[None]:
        turns.append("had")
        yield

    def make(part: int) -> None:
        done.append(part)
        if part == 1:
            ahead.clear()

    in_turns(ahead, make, turn, clock=lambda: 0.0)

    assert (done, len(turns)) == ([0, 1], 2)


async def test_another_thread_has_the_lock_between_two_turns_of_a_long_change() -> None:
    turns, order, may_go_on = Turns(), list[str](), threading.Semaphore(0)

    def write(name: str) -> None:
        with turns:
            order.append(name)

    def make(part: str) -> None:
        order.append(part)
        assert may_go_on.acquire(timeout=WAIT_S)

    with ThreadPoolExecutor(max_workers=2) as threads:
        long = threads.submit(in_turns, deque(["a part", "another part"]), make, lambda: turns)
        await eventually(lambda: order == ["a part"])
        short = threads.submit(write, "short")
        await eventually(lambda: turns.waiting == 1)
        may_go_on.release(2)
        long.result(WAIT_S)
        short.result(WAIT_S)

    assert order == ["a part", "short", "another part"]
