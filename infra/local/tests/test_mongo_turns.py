"""Who has a lock next."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tidemill_local.mongo_turns import Turns
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
