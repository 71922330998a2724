"""The parent of vLLM's processes on a machine: they end when inference ends, however it ends.

    python -m tidemill_vllm.guardian [arguments of vLLM's OpenAI server]

Inference holds the other end of its standard input, which the system closes when inference is gone: then the whole
process group ends. When vLLM's server ends, the rest of the group ends with it, and its exit status is passed on. Start
it as the leader of a group of its own.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence

SERVER = ("-m", "vllm.entrypoints.openai.api_server")
PR_SET_PDEATHSIG = 1
"""Linux prctl(2): signal sent to a process when its parent ends."""


def main(arguments: Sequence[str], *, server: Sequence[str] = SERVER) -> int:
    """Run the server until it ends, or standard input does."""
    child = subprocess.Popen(  # noqa: S603 - by inference
        [sys.executable, *server, *arguments],
        stdin=subprocess.DEVNULL,
        preexec_fn=_die_with_parent,  # noqa: PLW1509 - no thread runs yet
    )
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    threading.Thread(target=_end_with_input, name="lifeline", daemon=True).start()
    status = child.wait()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.killpg(0, signal.SIGTERM)  # what the server has left; inference kills what ignores it
    return status if status >= 0 else 128 - status


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _end_with_input() -> None:
    while os.read(0, 1):
        pass
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
