"""Ends a process when its parent ends."""

import ctypes
import os
import signal
import sys
import threading

PR_SET_PDEATHSIG = 1
"""Linux prctl(2): signal sent to a process when its parent ends."""


def die_with_parent(*, holds_input: bool = True) -> None:
    """Exit when the parent exits: by prctl on Linux, elsewhere when standard input is closed, which it has to hold."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if not holds_input:
        return
    threading.Thread(target=_end_with_input, name="lifeline", daemon=True).start()


def _end_with_input() -> None:
    os.read(0, 1)  # returns when the other end is closed
    os._exit(1)
