"""Prints what an audited RPC costs more than one that is not, and how fast an export is verified.

The RPC is the same of two servers that answer at once, over loopback, from this process: of one the records go nowhere,
of the other they are stored in MongoDB, as services do. The ways take turns, call by call; medians are printed, and the
processor time of this process, that of storing the outcome behind a call's back included. Beside them stands one bare
insert of a small document: that is what a call waits for. The export is verified from a file, as by `tidemill audit
verify`.

Run with `python -m tests.bench.audit [calls] [records]` and a stack in TIDEMILL_TEST_STACK; without one only the export
is verified.
"""

import asyncio
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from uuid import uuid4

from libs.kit.tests.grpc.support import caller_as_source, serving, settings, sources
from tests.bench._figures import report
from tidemill.ingest.v1.source_pb2 import Source
from tidemill.ingest.v1.source_service_pb2 import UpdateSourceRequest, UpdateSourceResponse
from tidemill.ingest.v1.source_service_pb2_grpc import SourceServiceStub
from tidemill_core.audit import GENESIS, Head, canonical, hash_of, header_of, line_of, verify
from tidemill_kit.audit.trail import MongoAuditTrail
from tidemill_kit.runtime.logging import configure_logging
from tidemill_kit.store.mongo import connect
from tidemill_local import Addresses
from tidemill_testkit.audit import RecordedCalls

Way = Callable[[int], Awaitable[object]]
METADATA = (("tidemill-project", "acme"),)


async def updated(request: UpdateSourceRequest, _context: object) -> UpdateSourceResponse:
    """Answer at once."""
    return UpdateSourceResponse(source=Source(id=request.source.id, etag="3"))


async def measured(way: Way, number: int) -> tuple[float, float]:
    """Return the milliseconds of one call, and those of the processor."""
    begun, begun_cpu = perf_counter(), process_time()
    await way(number)
    return (perf_counter() - begun) * 1000, (process_time() - begun_cpu) * 1000


async def calls_of(number: int) -> None:
    """Measure the ways of a call and print them."""
    configure_logging(settings(log_level="error"))
    client = connect(Addresses.read(Path(os.environ["TIDEMILL_TEST_STACK"])).mongo, timeout_s=30)
    database = client[f"bench_{uuid4().hex[:8]}"]
    hold = timedelta(seconds=600)
    trail = MongoAuditTrail(database["audit"], service="ingest", enqueue=lambda _: None, hold=hold)
    await trail.ensure_indexes()
    async with AsyncExitStack() as servers:
        rpcs = sources(UpdateSource=updated, GetSource=caller_as_source)
        free = await servers.enter_async_context(serving(rpcs, audit=RecordedCalls()))
        stored = await servers.enter_async_context(serving(rpcs, audit=trail))
        await trail.start()
        plain, audited = SourceServiceStub(free.raw), SourceServiceStub(stored.raw)
        request = UpdateSourceRequest(source=Source(id="cms", etag="2"))

        async def bare(at: int) -> None:
            await database["bare"].insert_one({"_id": f"acme/{at}", "project": "acme", "record": b"x" * 300})

        async def without(_at: int) -> None:
            await plain.UpdateSource(request, metadata=METADATA)

        async def recorded(_at: int) -> None:
            await audited.UpdateSource(request, metadata=METADATA)

        ways: dict[str, Way] = {"one bare insert": bare, "RPC, records go nowhere": without, "RPC, audited": recorded}
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for at in range(-(number // 10), number):
            for name, way in ways.items():
                took = await measured(way, at)
                if at >= 0:
                    times[name].append(took)
        await trail.stop()
    await client.drop_database(database.name)
    medians = {name: [median(column) for column in zip(*rows, strict=True)] for name, rows in times.items()}
    for name, (took_ms, cpu_ms) in medians.items():
        sys.stdout.write(f"{name:24} {took_ms:6.3f} ms  {cpu_ms:6.3f} ms of CPU in this process\n")
    added = medians["RPC, audited"][0] - medians["RPC, records go nowhere"][0]
    inserts = added / medians["one bare insert"][0]
    sys.stdout.write(f"an audited RPC takes {added:.3f} ms more, {inserts:.2f} bare inserts\n")
    report("audited_rpc", inserts, "inserts")


def exported(records: int) -> Iterator[bytes]:
    """Yield the lines of an export with records as services write them."""
    previous, lines = GENESIS, list[bytes]()
    facts: dict[str, str | int] = {
        "project": "acme",
        "service": "ingest",
        "subject": "user:ada@example.org",
        "via": "",
        "credential": "0b2f6c1e-6a55-4d0e-9d6a-8f1f6a1c2b3d",
        "method": "tidemill.ingest.v1.DocumentService/UpdateDocument",
        "resource": "7c9e6679-7425-40de-944b-e07fc1f90ae7",
        "request_digest": "a" * 64,
        "etag_before": "2",
        "etag_after": "3",
        "reply_digest": "b" * 64,
        "outcome": "succeeded",
        "code": "OK",
        "reason": "",
        "address": "10.0.0.7",
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
        "count": 1,
        "begin_time": "2026-11-20T12:00:00.123456Z",
        "end_time": "2026-11-20T12:00:00.234567Z",
    }
    for seq in range(1, records + 1):
        text = canonical({**facts, "id": f"call-{seq:030}", "seq": seq})
        own = hash_of(previous, text)
        lines.append(line_of(previous, own, text).encode() + b"\n")
        previous = own
    yield header_of("acme", Head(seq=records, hash=previous)).encode() + b"\n"
    yield from lines


def verified(records: int) -> None:
    """Measure the verification of a file and print it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "audit.jsonl"
        with file.open("wb") as out:
            out.writelines(exported(records))
        rates = []
        for _ in range(5):
            begun, begun_cpu = perf_counter(), process_time()
            with file.open("rb") as lines:
                found = verify(lines)
            took_s, cpu_s = perf_counter() - begun, process_time() - begun_cpu
            rates.append((records / took_s, records / cpu_s))
            if found.defect is not None:
                raise ValueError(found.why)
        size = file.stat().st_size / records
    rate, of_cpu = (median(column) for column in zip(*rates, strict=True))
    sys.stdout.write(
        f"{rate:,.0f} records a second verified, {of_cpu:,.0f} a second of CPU, of {size:.0f} bytes each\n"
    )
    report("audit_verified", rate, "records/s")


if __name__ == "__main__":
    verified(int(sys.argv[2]) if len(sys.argv) > 2 else 200_000)
    if "TIDEMILL_TEST_STACK" in os.environ:
        asyncio.run(calls_of(int(sys.argv[1]) if len(sys.argv) > 1 else 500))
