import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
import pytest_asyncio

from tidemill_core.errors import RateLimited
from tidemill_kit.workers.bounded_processes import BoundedProcesses, ProcessLimits, Shares, WorkEndedError
from tidemill_testkit.loop_lag import loop_lag

LIMITS = ProcessLimits(workers=1, cpu_s=0.3, wall_s=20, memory_bytes=512 << 20)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def processes() -> AsyncIterator[BoundedProcesses]:
    made = BoundedProcesses(LIMITS, "tests")
    yield made
    await made.stop()


def spend() -> None:
    while True:
        with suppress(Exception):  # it means to go on
            sum(range(1000))


def spend_in_one_call() -> int:
    return int("9" * 4000) ** 400_000  # no signal's handler is called before it returns


def allocate_memory() -> int:
    return len(bytearray(1 << 30))


def die() -> None:
    os._exit(7)


class PanicException(BaseException):
    pass


def panic() -> None:
    raise PanicException


def upper(text: str) -> str:
    return text.upper()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("work", "cause", "why"),
    [
        (spend, "cpu", "takes more than 0.3 s"),
        (spend_in_one_call, "cpu", "takes more than 0.3 s"),
        (allocate_memory, "failed", "failed with MemoryError"),
        (panic, "failed", "failed with PanicException"),
        (die, "died", "ended its process"),
    ],
)
async def test_work_that_takes_too_much_ends_alone_and_the_next_is_done(
    processes: BoundedProcesses, work: object, cause: str, why: str
) -> None:
    async with loop_lag() as lag:
        with pytest.raises(WorkEndedError) as ended:
            await processes.run("acme", work)  # type: ignore[arg-type] # one of four functions
        assert await processes.run("acme", upper, "x") == "X"

    assert (ended.value.cause, ended.value.why) == (cause, why)
    assert lag.worst_s < 0.2


async def test_work_that_waits_for_ever_is_ended_with_its_process() -> None:
    made = BoundedProcesses(ProcessLimits(workers=1, cpu_s=5, wall_s=0.5, memory_bytes=512 << 20), "tests")
    try:
        with pytest.raises(WorkEndedError, match=r"took more than 0\.5 s"):
            await made.run("acme", time.sleep, 600)
    finally:
        await made.stop()


async def test_a_project_has_its_share_of_places_and_a_bounded_queue() -> None:
    shares, gate, inside = Shares(2, waiting=1, what="things"), asyncio.Event(), 0

    async def hold(project: str) -> None:
        nonlocal inside
        async with shares.place(project):
            inside += 1
            await gate.wait()

    held = [asyncio.create_task(hold("evil")) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(RateLimited, match="things"):
        await hold("evil")
    other = asyncio.create_task(hold("acme"))
    await asyncio.sleep(0)
    assert inside == 3
    gate.set()
    await asyncio.gather(*held, other)
    await hold("evil")
    assert shares._places == {}  # noqa: SLF001 - projects that have gone leave nothing


def test_work_is_done_below_the_hard_limits_that_the_service_was_started_with() -> None:
    script = """
import resource
from tidemill_kit.workers.bounded_processes import _begin, _bounded
for kind, hard in ((resource.RLIMIT_CPU, 100), (resource.RLIMIT_AS, 16 << 30)):
    resource.setrlimit(kind, (hard, hard))
_begin(32 << 30, ())
print(_bounded(1000.0, len, "work"))
"""
    done = subprocess.run(  # noqa: S603 - our own interpreter and script
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout == "4\n"


SERVICE = """
import asyncio
from tidemill_kit.workers.bounded_processes import BoundedProcesses, ProcessLimits
from imported_once import ids

async def main():
    limits = ProcessLimits(workers=1, cpu_s=5, wall_s=60, memory_bytes=512 << 20)
    processes = BoundedProcesses(limits, "tests", ("imported_once",))
    print(*await processes.run("acme", ids), flush=True)
    await asyncio.sleep(600)

if __name__ == "__main__":
    asyncio.run(main())
"""
IMPORTED_ONCE = """
import os
at_import = os.getpid()

def ids():
    return at_import, os.getppid(), os.getpid()
"""


def test_processes_share_what_one_has_imported_and_all_end_with_a_killed_service(tmp_path: Path) -> None:
    (tmp_path / "imported_once.py").write_text(IMPORTED_ONCE, encoding="utf-8")
    (tmp_path / "service.py").write_text(SERVICE, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    service = subprocess.Popen(  # noqa: S603 - our own interpreter and script
        [sys.executable, str(tmp_path / "service.py")], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert service.stdout is not None
    imported_by, parent, worker = map(int, service.stdout.readline().split())
    service.kill()
    service.communicate()

    assert imported_by == parent != worker
    assert parent != service.pid
    deadline = time.monotonic() + 30
    while left := [each for each in (parent, worker) if Path(f"/proc/{each}").exists()]:
        assert time.monotonic() < deadline, f"{left} still run"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("first", "there"), [("import tidemill_kit.runtime.unused_libraries", "False"), ("pass", "True")]
)
def test_processes_leave_out_the_libraries_that_their_service_leaves_out(
    tmp_path: Path, first: str, there: str
) -> None:
    work = "import sys\n\ndef ids():\n    return (sys.modules.get('rich', 0) is not None,)\n"
    (tmp_path / "imported_once.py").write_text(work, encoding="utf-8")
    script = SERVICE.replace("asyncio.run(", f"{first}; asyncio.run(").replace("await asyncio.sleep(600)", "")
    (tmp_path / "service.py").write_text(script, encoding="utf-8")
    done = subprocess.run(  # noqa: S603 - our own interpreter and script
        [sys.executable, str(tmp_path / "service.py")],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )

    assert done.stdout == f"{there}\n"
