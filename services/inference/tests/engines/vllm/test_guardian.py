"""The processes of vLLM end with inference, and with each other."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

GUARDIAN = Path(__file__).parents[3] / "engines" / "vllm" / "src" / "tidemill_vllm" / "guardian.py"
SERVER = """
import subprocess, sys, time
worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(worker.pid, flush=True)
{then}
"""
RUN = """
import runpy, sys
guardian = runpy.run_path(sys.argv[1])
sys.exit(guardian["main"](sys.argv[2:], server=("-c",)))
"""
WITHIN_S = 60


def started(then: str) -> tuple["subprocess.Popen[str]", int]:
    """Start a guardian with a server that has a process of its own; return it and that process."""
    command = [sys.executable, "-c", RUN, str(GUARDIAN), SERVER.format(then=then)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    guardian = subprocess.Popen(command, text=True, start_new_session=True, **pipes)  # type: ignore[call-overload]  # noqa: S603 - ours
    assert guardian.stdout is not None
    return guardian, int(guardian.stdout.readline())


def gone(pid: int) -> bool:
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


def test_all_of_it_ends_when_the_other_end_of_its_input_does() -> None:
    guardian, worker = started("time.sleep(600)")
    assert guardian.stdin is not None

    guardian.stdin.close()

    assert guardian.wait(WITHIN_S) == -signal.SIGKILL
    assert gone(worker)


def test_the_rest_ends_with_the_server_whose_status_is_passed_on() -> None:
    guardian, worker = started("sys.exit(7)")

    assert guardian.wait(WITHIN_S) == 7
    assert gone(worker)


@pytest.mark.skipif(sys.platform != "linux", reason="the system tells children of a dead parent on Linux only")
def test_the_server_ends_with_a_guardian_that_is_killed() -> None:
    guardian, _ = started("time.sleep(600)")
    server = psutil.Process(guardian.pid).children()[0].pid

    os.kill(guardian.pid, signal.SIGKILL)
    guardian.wait(WITHIN_S)

    assert gone(server)
    os.killpg(guardian.pid, signal.SIGKILL)  # as inference does
