"""How many threads an engine computes with."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from tidemill_inference.engines.limits import SharedThreads


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def engine() -> Iterator[ThreadPoolExecutor]:
    """Give a thread that computes, as an engine has one."""
    with ThreadPoolExecutor(1) as thread:
        yield thread


def threads_of_a_step(shared: SharedThreads) -> int:
    with shared.share():
        return torch.get_num_threads()


def test_an_engine_alone_computes_with_all_threads(engine: ThreadPoolExecutor) -> None:
    shared = SharedThreads(4)

    assert [engine.submit(threads_of_a_step, shared).result() for _ in range(2)] == [4, 4]


def test_engines_that_compute_at_the_same_time_share_the_threads(engine: ThreadPoolExecutor) -> None:
    shared = SharedThreads(4, clock=Clock())
    begun, ended = threading.Event(), threading.Event()

    def long_step() -> int:
        with shared.share():
            begun.set()
            ended.wait(10)
            return torch.get_num_threads()

    alone = engine.submit(long_step)
    assert begun.wait(10)
    with ThreadPoolExecutor(1) as other:
        beside = other.submit(threads_of_a_step, shared).result()
    ended.set()

    assert (alone.result(), beside) == (4, 2)
    assert engine.submit(threads_of_a_step, shared).result() == 2


def test_an_engine_that_pauses_leaves_its_threads_to_the_other(engine: ThreadPoolExecutor) -> None:
    clock = Clock()
    shared = SharedThreads(4, clock=clock)
    with ThreadPoolExecutor(1) as other:
        other.submit(threads_of_a_step, shared).result()
        beside = engine.submit(threads_of_a_step, shared).result()
        clock.now += 1.0
        after = engine.submit(threads_of_a_step, shared).result()

    assert (beside, after) == (2, 4)


def test_each_of_more_engines_than_threads_has_one() -> None:
    shared = SharedThreads(2, clock=Clock())
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as two, ThreadPoolExecutor(1) as three:
        seen = [each.submit(threads_of_a_step, shared).result() for each in (one, two, three)]

    assert seen == [2, 1, 1]
