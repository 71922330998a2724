"""What the imports of a process that only computes are spared."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collections() -> Iterator[None]:
    """Collect no garbage while the block imports libraries, and leave what stays out of all later collections.

    Nearly all that an import makes stays, and each collection of everything goes through it anew: a fifth of the
    processor time of importing torch, transformers and trl.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
