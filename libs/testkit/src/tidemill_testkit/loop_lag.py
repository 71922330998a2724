"""How long the event loop was kept from its turns by work of this process."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

_TURN_S = 0.005


@dataclass
class LoopLag:
    """`worst_s` is the longest time between two turns in which this process computed.

    Only its own processor time counts, so that a busy machine is no failure; time of other threads counts too, because
    one that holds the interpreter keeps the loop waiting as well.
    """

    worst_s: float = 0.0
    turns: int = 0


@asynccontextmanager
async def loop_lag() -> AsyncIterator[LoopLag]:
    """Measure while a block runs."""
    lag = LoopLag()
    gc.collect()
    gc.freeze()  # for good: going through all that a test run holds is nothing that a service does

    async def watch() -> None:
        while True:
            wall, computed = time.perf_counter(), time.process_time()
            await asyncio.sleep(_TURN_S)
            lag.worst_s = max(lag.worst_s, min(time.perf_counter() - wall, time.process_time() - computed))
            lag.turns += 1

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0)
    try:
        yield lag
        await asyncio.sleep(2 * _TURN_S)
    finally:
        watching.cancel()
