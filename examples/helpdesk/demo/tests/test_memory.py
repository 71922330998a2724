"""What the demo counts as memory of the stack."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tidemill_helpdesk.memory import GUARDIAN, vllm_of
from tidemill_testkit.polling import eventually

SERVER = "import subprocess, sys; subprocess.call([sys.executable, '-S', '-c', 'input()'])"


@contextmanager
def started(*arguments: str) -> Iterator[int]:
    """Start a process that starts another one; both end with the block."""
    command = [sys.executable, "-S", "-c", SERVER, *arguments]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)  # noqa: S603 - ours
    try:
        yield process.pid
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


async def test_all_of_vllm_is_counted_and_nothing_else() -> None:
    with started() as other, started(GUARDIAN.decode()) as vllm:
        await eventually(lambda: len(list(vllm_of(os.getpid()))) > 1, within_s=60)
        found = list(vllm_of(os.getpid()))

    assert found[0] == vllm
    assert len(found) == 2
    assert other not in found
