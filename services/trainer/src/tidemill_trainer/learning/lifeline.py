"""Ends a process when its parent ends."""

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable

PR_SET_PDEATHSIG = 1
"""Linux prctl(2): signal sent to a process when its parent ends."""


def die_with_parent(*, holds_input: bool = True, received: Callable[[str], object] = lambda _line: None) -> None:
    """Exit when the parent exits: by prctl on Linux, elsewhere when standard input is closed, which it has to hold.

    `received` is called with each line that the parent sends there.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if not holds_input:
        return
    threading.Thread(target=_end_with_input, args=(received,), name="lifeline", daemon=True).start()


def _end_with_input(received: Callable[[str], object]) -> None:
    with os.fdopen(0, encoding="utf-8", closefd=False) as lines:
        for line in lines:
            received(line)
    os._exit(1)  # the other end is closed
