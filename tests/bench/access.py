"""Prints what checking a credential adds to an RPC: the same RPC of two servers, one of which asks for credentials.

Both answer at once, over loopback, from this process. The ways take turns, call by call, so that what else the machine
does meets all of them alike; medians are printed, and the processor time of a call on both of its sides. `cached` sends
one token again and again, as clients do, `fresh` another one with each call: its signature is verified each time.

Run with `python -m tests.bench.access [calls]`.
"""

import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

from libs.kit.tests.grpc.support import caller_as_source, serving, settings, sources
from tests.bench._figures import report
from tidemill.ingest.v1.source_service_pb2 import GetSourceRequest
from tidemill.ingest.v1.source_service_pb2_grpc import SourceServiceStub
from tidemill_kit.runtime.logging import configure_logging
from tidemill_testkit.access import TestIssuer, access_of

ROLES = ("contributor", "operator")
GROUPS = frozenset(f"group-{number:02}" for number in range(20))
Way = Callable[[int], Awaitable[object]]


async def measured(way: Way, number: int) -> tuple[float, float]:
    """Return the milliseconds of one call, and those of the processor."""
    begun, begun_cpu = perf_counter(), process_time()
    await way(number)
    return (perf_counter() - begun) * 1000, (process_time() - begun_cpu) * 1000


async def main(calls: int) -> None:
    """Measure and print."""
    configure_logging(settings(log_level="error"))
    with tempfile.TemporaryDirectory() as folder:
        issuer = TestIssuer(Path(folder))
        tokens = [issuer.token("acme", *ROLES, groups=GROUPS) for _ in range(calls + calls // 10 + 1)]
        async with AsyncExitStack() as servers:
            open_ = await servers.enter_async_context(serving(sources(GetSource=caller_as_source)))
            checks = serving(sources(GetSource=caller_as_source), access=access_of(issuer))
            checked = await servers.enter_async_context(checks)
            believed, asked, request = SourceServiceStub(open_.raw), SourceServiceStub(checked.raw), GetSourceRequest()

            async def without(_number: int) -> None:
                await believed.GetSource(request, metadata=(("tidemill-project", "acme"),))

            async def cached(_number: int) -> None:
                await asked.GetSource(request, metadata=(("authorization", f"Bearer {tokens[0]}"),))

            async def fresh(number: int) -> None:
                await asked.GetSource(request, metadata=(("authorization", f"Bearer {tokens[number + 1]}"),))

            ways: dict[str, Way] = {"without": without, "cached": cached, "fresh": fresh}
            times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
            for number in range(-(calls // 10), calls):
                for name, way in ways.items():
                    took = await measured(way, number % len(tokens) - 1 if number < 0 else number)
                    if number >= 0:
                        times[name].append(took)
    medians = {name: [median(column) for column in zip(*rows, strict=True)] for name, rows in times.items()}
    for name, (took_ms, cpu_ms) in medians.items():
        added = f"{took_ms - medians['without'][0]:+6.3f} ms  {cpu_ms - medians['without'][1]:+6.3f} ms of CPU"
        sys.stdout.write(f"{name:8} {took_ms:6.3f} ms  {cpu_ms:6.3f} ms of CPU   {added}\n")
    report("access_check", medians["cached"][0] - medians["without"][0], "ms")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000))
