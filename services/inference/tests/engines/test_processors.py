"""How many threads an engine computes with beside other processes."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from tidemill_inference.engines.limits import SharedThreads
from tidemill_inference.engines.processors import FreeProcessors, ProcessorTimes, processor_times


class Machine:
    """Processors that others use, as much as a test says; each step lasts half a second."""

    def __init__(self, *, waiting: float = 0.0, idle: float = 0.0) -> None:
        self.waiting, self.idle = waiting, idle
        self.now, self.waited_s, self.idle_s = 100.0, 0.0, 0.0

    def read(self) -> ProcessorTimes:
        return ProcessorTimes(waited_s=self.waited_s, idle_s=self.idle_s)

    def clock(self) -> float:
        return self.now

    def free(self, total: int) -> FreeProcessors:
        return FreeProcessors(total, read=self.read, clock=self.clock)

    def run(self, seconds: float) -> None:
        self.now += seconds
        self.waited_s += self.waiting * seconds
        self.idle_s += self.idle * seconds


def threads_after(free: FreeProcessors, machine: Machine, steps: int = 1) -> int:
    for _ in range(steps):
        free.begin()
        machine.run(0.5)
        free.end()
    return free.threads


def test_a_machine_without_others_computes_with_all_threads() -> None:
    machine = Machine(waiting=0.2)

    assert threads_after(machine.free(2), machine, steps=4) == 2


@pytest.mark.parametrize(("total", "waiting", "expected"), [(2, 0.7, 1), (2, 1.8, 1), (64, 1.0, 63), (64, 20.0, 44)])
def test_threads_that_would_wait_are_left_out(total: int, waiting: float, expected: int) -> None:
    machine = Machine(waiting=waiting)

    assert threads_after(machine.free(total), machine) == expected


def test_threads_come_back_when_a_processor_is_idle_and_not_before() -> None:
    machine = Machine(waiting=1.0)
    free = machine.free(2)
    threads_after(free, machine)
    machine.waiting = 0.0

    beside_one = threads_after(free, machine, steps=4)
    machine.idle = 0.95

    assert (beside_one, threads_after(free, machine), threads_after(free, machine)) == (1, 2, 2)


def test_a_pause_between_two_steps_does_not_count() -> None:
    machine = Machine(waiting=1.0)
    free = machine.free(2)
    threads_after(free, machine)
    machine.waiting, machine.idle = 0.0, 2.0
    free.begin()
    machine.run(0.1)
    free.end()

    machine.run(10.0)  # without a request
    machine.idle = 0.0

    assert threads_after(free, machine) == 1


def test_a_system_without_such_counters_computes_with_all_threads() -> None:
    machine = Machine()
    free = FreeProcessors(2, read=lambda: None, clock=machine.clock)

    assert threads_after(free, machine, steps=3) == 2


def test_linux_counts_what_threads_wait_and_processors_are_idle() -> None:
    before = processor_times()
    after = processor_times()

    assert before is not None
    assert after is not None
    assert after.idle_s >= before.idle_s > 0


@pytest.fixture
def engine() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as thread:
        yield thread


def test_an_engine_computes_with_the_threads_that_are_left(engine: ThreadPoolExecutor) -> None:
    machine = Machine(waiting=1.0)
    shared = SharedThreads(2, clock=machine.clock, free=machine.free)

    def step() -> int:
        with shared.share():
            machine.run(0.5)
            return torch.get_num_threads()

    assert [engine.submit(step).result() for _ in range(2)] == [2, 1]
