import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tidemill_kit.workers import idle_processes
from tidemill_kit.workers.bounded_processes import BoundedProcesses, ProcessLimits, WorkEndedError
from tidemill_testkit.loop_lag import loop_lag

LIMITS = ProcessLimits(workers=3, cpu_s=5, wall_s=10, memory_bytes=512 << 20)


@pytest_asyncio.fixture
async def processes(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[BoundedProcesses]:
    monkeypatch.setattr(idle_processes, "IDLE_S", 0.5)
    made = BoundedProcesses(LIMITS, "tests")
    yield made
    await made.stop()


def met(folder: Path, others: int) -> int:
    """Return this process's id when as many do this at the same time."""
    folder.mkdir(exist_ok=True)
    (folder / str(os.getpid())).touch()
    while len(list(folder.iterdir())) < others:
        time.sleep(0.01)
    return os.getpid()


def running(processes: set[int]) -> set[int]:
    return {process for process in processes if Path(f"/proc/{process}").exists()}


async def ended(processes: set[int]) -> None:
    deadline = time.monotonic() + 30
    while left := running(processes):
        assert time.monotonic() < deadline, f"{left} still run"
        await asyncio.sleep(0.05)


async def at_once(processes: BoundedProcesses, folder: Path, count: int) -> set[int]:
    work = (processes.run(f"p{n}", met, folder, count) for n in range(count))
    return set(await asyncio.gather(*work))


async def test_processes_without_work_end_and_work_at_once_brings_as_many_back(
    processes: BoundedProcesses, tmp_path: Path
) -> None:
    async with loop_lag() as lag:
        first = await at_once(processes, tmp_path / "first", 3)
        await ended(first)
        again = await at_once(processes, tmp_path / "again", 3)

    assert len(first) == len(again) == 3
    assert not first & again
    assert lag.worst_s < 0.2


async def test_work_that_is_stuck_holds_up_no_other_after_the_processes_ended(
    processes: BoundedProcesses, tmp_path: Path
) -> None:
    await ended(await at_once(processes, tmp_path / "first", 3))
    stuck = asyncio.create_task(processes.run("evil", time.sleep, 600))
    await asyncio.sleep(0)

    await processes.run("acme", os.getpid)
    assert not stuck.done()
    with pytest.raises(WorkEndedError, match="took more than 10 s"):
        await stuck
    assert len(await at_once(processes, tmp_path / "again", 3)) == 3


async def test_a_process_whose_work_is_given_up_is_replaced_before_it_takes_other_work(
    processes: BoundedProcesses, tmp_path: Path
) -> None:
    given_up = [asyncio.create_task(processes.run(f"p{n}", time.sleep, 600)) for n in range(3)]
    await asyncio.sleep(1)
    for work in given_up:
        work.cancel()

    assert len(await at_once(processes, tmp_path / "all", 3)) == 3


async def test_stopping_ends_every_process_in_work_and_free(processes: BoundedProcesses, tmp_path: Path) -> None:
    all_three = await at_once(processes, tmp_path / "all", 3)
    work = asyncio.create_task(processes.run("acme", time.sleep, 600))
    await asyncio.sleep(0.1)
    await processes.stop()

    assert running(all_three) == set()
    work.cancel()
    assert await processes.run("acme", os.getpid) not in all_three


BACKGROUND = """
import asyncio, os, sys
from multiprocessing import forkserver
from tidemill_kit.workers import idle_processes
from tidemill_kit.workers.bounded_processes import BoundedProcesses, ProcessLimits

async def main():
    idle_processes.IDLE_S = 0.2
    limits = ProcessLimits(workers=2, cpu_s=5, wall_s=60, memory_bytes=512 << 20)
    made = [BoundedProcesses(limits, name, background=name in sys.argv) for name in ("one", "other")]
    servers = [await each.run("acme", os.getppid) for each in made]
    deadline = asyncio.get_running_loop().time() + (30 if len(sys.argv) == 3 else 2)
    while os.path.exists(f"/proc/{servers[0]}") and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(0.05)
    await asyncio.gather(*(each.run("acme", os.getppid) for each in made for _ in range(2)))
    again = await made[0].run("acme", os.getppid)
    print(len({*servers}), again == servers[0])
    for each in made:
        await each.stop()

if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.mark.parametrize(("background", "kept"), [(("one", "other"), "False"), (("one",), "True")])
def test_the_fork_server_ends_with_the_last_process_where_all_work_is_in_the_background(
    tmp_path: Path, background: tuple[str, ...], kept: str
) -> None:
    (tmp_path / "service.py").write_text(BACKGROUND, encoding="utf-8")
    done = subprocess.run(  # noqa: S603 - our own interpreter and script
        [sys.executable, str(tmp_path / "service.py"), *background],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert done.stdout == f"1 {kept}\n"
    assert done.stderr == ""
