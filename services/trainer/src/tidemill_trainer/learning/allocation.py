"""Which freed memory a training keeps for its next step, and which it returns to the system."""

import ctypes
from contextlib import suppress

FRAGMENTS = 0.6
"""Of activations: what is freed between blocks that are in use, and kept. SmolLM2's were 0.3 to 0.6."""
RETURNED_FROM_BYTES = 1024**2
"""Smaller blocks are no part of the peak that matters."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Options of glibc's mallopt."""


def return_freed(from_bytes: int = RETURNED_FROM_BYTES) -> None:
    """Return freed blocks of this size on to the system at once: no fragments, for nearly twice the time of a step.

    The system clears the pages of each new block. Where the C library knows no such options, nothing happens.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        for option in (_MMAP_THRESHOLD, _TRIM_THRESHOLD):
            library.mallopt(option, from_bytes)
