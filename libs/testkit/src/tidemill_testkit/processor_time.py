"""The processor time that a block of code takes, whatever else the process and the machine do."""

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class ProcessorTime:
    """`seconds` is set at the end of the block."""

    seconds: float = 0.0


@contextmanager
def processor_time() -> Iterator[ProcessorTime]:
    """Measure the time of this thread, without collections of garbage, which scan all objects of a test run."""
    measured = ProcessorTime()
    gc.collect()
    gc.disable()
    begun = time.thread_time()
    try:
        yield measured
    finally:
        measured.seconds = time.thread_time() - begun
        gc.enable()
