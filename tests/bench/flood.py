"""Prints what one project that sends without pause costs the others: their p95 beside it, and without it.

A server, the flood (requests in a loop, without regard to what refusals say) and a caller of another project are
processes of their own. Phases with and without the flood take turns, so that what else the machine does meets both
alike; what the bucket of the flood saved meanwhile is a part of each.

Run with `python -m tests.bench.flood [requests of a minute that a project may send] [rounds]`.
"""

import asyncio
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from statistics import median, quantiles
from types import SimpleNamespace
from typing import cast

import grpc
import psutil

from libs.kit.tests.grpc.support import caller_as_source, settings, sources
from tests.bench._figures import report
from tidemill.ingest.v1.source_service_pb2 import GetSourceRequest
from tidemill.ingest.v1.source_service_pb2_grpc import SourceServiceStub
from tidemill_kit.grpc.server import GrpcServer
from tidemill_kit.runtime.logging import configure_logging
from tidemill_kit.runtime.settings import ServiceSettings
from tidemill_testkit.access import TestIssuer, access_of
from tidemill_testkit.audit import RecordedCalls

CONCURRENT = 64
PHASE_S = 4.0
PAUSE_S = 0.02
"""Between two requests of the caller that is measured."""
LIMITS = ("max_requests_per_minute_of_project", "max_requests_per_minute_of_subject")


def serve(published: SimpleNamespace, per_minute: int, pipe: Pipe) -> None:
    """Serve until the pipe is closed."""

    async def run() -> None:
        limits = dict.fromkeys(
            LIMITS, per_minute if per_minute >= 0 else ServiceSettings.model_fields[LIMITS[0]].default
        )
        given = settings(log_level="error", **limits)
        configure_logging(given)
        access = access_of(cast("TestIssuer", published))
        server = GrpcServer(given, [sources(GetSource=caller_as_source)], access=access, audit=RecordedCalls())
        await server.start()
        pipe.send(server.port)
        await asyncio.to_thread(pipe.recv)
        await server.stop(0)

    asyncio.run(run())


def flood(port: int, token: str, pipe: Pipe) -> None:
    """Send from many places at once whenever the pipe says so, and say how many were answered and refused."""

    async def phase(stub: SourceServiceStub, until: float) -> tuple[int, int]:
        answered = refused = 0
        while time.monotonic() < until:
            try:
                await stub.GetSource(GetSourceRequest(), metadata=(("authorization", f"Bearer {token}"),), timeout=5)
                answered += 1
            except grpc.aio.AioRpcError:
                refused += 1
        return answered, refused

    async def run() -> None:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = SourceServiceStub(channel)
            while (seconds := await asyncio.to_thread(pipe.recv)) is not None:
                until = time.monotonic() + seconds
                counts = await asyncio.gather(*(phase(stub, until) for _ in range(CONCURRENT)))
                pipe.send([sum(column) for column in zip(*counts, strict=True)])

    asyncio.run(run())


async def taken(stub: SourceServiceStub, token: str) -> list[float]:
    """Return the milliseconds of each request of one phase."""
    until, times = time.monotonic() + PHASE_S, list[float]()
    while time.monotonic() < until:
        begun = time.perf_counter()
        await stub.GetSource(GetSourceRequest(), metadata=(("authorization", f"Bearer {token}"),))
        times.append((time.perf_counter() - begun) * 1000)
        await asyncio.sleep(PAUSE_S)
    return times


def p95(times: Sequence[float]) -> float:
    """Return the 95th percentile."""
    return quantiles(times, n=20)[-1]


async def main(per_minute: int, rounds: int) -> None:
    """Measure and print."""
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        issuer = TestIssuer(Path(folder))
        published = SimpleNamespace(issuer=issuer.issuer, file=issuer.file)  # its key stays here
        served, server_pipe = spawn.Pipe()
        server = spawn.Process(target=serve, args=(published, per_minute, server_pipe), daemon=True)
        server.start()
        port = await asyncio.to_thread(served.recv)
        flooded, flood_pipe = spawn.Pipe()
        flooding = spawn.Process(target=flood, args=(port, issuer.token("acme", "viewer"), flood_pipe), daemon=True)
        flooding.start()
        token, process = issuer.token("umbrella", "viewer"), psutil.Process(server.pid)
        without, beside, ratios, counts = list[float](), list[float](), list[float](), list[list[int]]()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = SourceServiceStub(channel)
            await taken(stub, token)
            memory = process.memory_info().rss
            for _ in range(rounds):
                alone = await taken(stub, token)
                flooded.send(PHASE_S)
                together = await taken(stub, token)
                counts.append(await asyncio.to_thread(flooded.recv))
                without += alone
                beside += together
                ratios.append(p95(together) / p95(alone))
            grown_kb = (process.memory_info().rss - memory) // 1024
        flooded.send(None)
        served.send(None)
        flooding.join(10)
        server.join(10)
    answered, refused = (sum(column) / (rounds * PHASE_S) for column in zip(*counts, strict=True))
    sys.stdout.write(f"p95 of others: {p95(without):.2f} ms without, {p95(beside):.2f} ms beside the flood\n")
    sys.stdout.write(f"ratio by round: {', '.join(f'{ratio:.2f}' for ratio in ratios)}\n")
    sys.stdout.write(f"the flood: {answered:.0f} answered and {refused:.0f} refused a second; memory {grown_kb:+} KB\n")
    report("flood_p95", median(ratios), "x")


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:]]
    asyncio.run(main(given[0] if given else -1, given[1] if len(given) > 1 else 8))
