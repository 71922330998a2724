"""Prints documents a second from submission to searchable, and where the processor time goes.

The corpus of examples/helpdesk goes in as in the demo, at the same time: one half uploaded by gRPC, the other published
as CloudEvents. It counts from the first submission until the live index has every document.

Run with TIDEMILL_TEST_STACK naming a stack.json with services: `python -m tests.bench.documents [documents]`; on an
idle machine, for all cores have a part in it. Processor time is of the whole stack, by program, children included.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any
from uuid import uuid4

import psutil

from tests.bench._figures import report
from tidemill.ingest.v1 import source_pb2, source_service_pb2
from tidemill.rag.v1 import collection_pb2, collection_service_pb2
from tidemill_client.connection import Addresses, Connection
from tidemill_client.documents import Documents, NewDocument
from tidemill_client.model_import import folder_source, import_model
from tidemill_helpdesk.example import upstream
from tidemill_kit.models.numeric_format import computed_format
from tidemill_local import LocalStack
from tidemill_local.addresses import Addresses as StackAddresses

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "helpdesk"
MODEL = ROOT / ".tidemill" / "models" / "all-MiniLM-L6-v2"
POLL_S = 0.5
Corpus = Sequence[Mapping[str, str]]


def corpus() -> Corpus:
    """Return the example's documents; a process of its own makes them, so that they are the same ones each time."""
    done = subprocess.run([sys.executable, EXAMPLE / "corpus.py"], capture_output=True, check=True)  # noqa: S603 - ours
    found: Corpus = json.loads(done.stdout)["documents"]
    return found


async def prepared(connection: Connection, events: str) -> None:
    """Register the model, two sources and the collection, and index one document: the model is loaded then."""
    await import_model(connection, "minilm", await folder_source(MODEL), folder=MODEL)
    masking = source_pb2.Masking(kinds=["email", "phone", "credential"])
    for source in (
        source_pb2.Source(id="manual", masking=masking),
        source_pb2.Source(id="cms", masking=masking, events=events),
    ):
        await connection.sources.CreateSource(source_service_pb2.CreateSourceRequest(source=source))
    chunking = collection_pb2.Chunking(by="structure", max_tokens=256, overlap_tokens=32)
    collection = collection_pb2.Collection(
        id="handbook", sources=["manual", "cms"], embedding="minilm", chunking=chunking
    )
    await connection.collections.CreateCollection(collection_service_pb2.CreateCollectionRequest(collection=collection))
    await Documents(connection).upload(NewDocument(source="manual", key="first", content="Loads the model."))
    await searchable(connection, 1)


async def submitted(connection: Connection, documents: Corpus, events: str) -> None:
    """Upload one half of the documents, and publish the other meanwhile."""
    lines = [
        json.dumps({"subject": each["key"], "data": {name: each[name] for name in ("media_type", "title", "text")}})
        for each in documents[1::2]
    ]
    script = [str(EXAMPLE / "publish.py"), *upstream(connection, "ingest"), "--source", events]
    publishing = await asyncio.create_subprocess_exec(
        sys.executable, *script, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
    )
    sent = asyncio.create_task(publishing.communicate("\n".join(lines).encode()))
    new = [
        NewDocument(
            source="manual",
            key=each["key"],
            content=each["text"],
            media_type=each["media_type"],
            title=each["title"],
        )
        for each in documents[::2]
    ]
    async for uploaded in Documents(connection).upload_many(new):
        assert uploaded.document, uploaded.refused
    await sent
    assert publishing.returncode == 0


async def searchable(connection: Connection, documents: int) -> int:
    """Wait until the live index has so many documents, and return the number of its chunks."""
    request = collection_service_pb2.GetCollectionRequest(id="handbook")
    while True:
        for index in (await connection.collections.GetCollection(request)).collection.indexes:
            assert not index.documents_failed, index.message
            if index.state == collection_pb2.INDEX_STATE_LIVE and index.documents_indexed == documents:
                return index.chunks
        await asyncio.sleep(POLL_S)


def processor_s(stack: Path) -> dict[str, float]:
    """Return the processor time of each program of the stack so far, with that of its children."""
    spent: dict[str, float] = {}
    for program in LocalStack(stack.parent).status().programs:
        process = psutil.Process(program.pid)
        spent[program.name] = sum(sum(each.cpu_times()[:2]) for each in [process, *process.children(recursive=True)])
    return spent


async def measured(connection: Connection, documents: Corpus, stack: Path, events: str) -> dict[str, Any]:
    """Submit the documents, wait until all are searchable, and return the figures."""
    before, begun = processor_s(stack), perf_counter()
    async with asyncio.TaskGroup() as work:
        submitting = work.create_task(submitted(connection, documents, events))
        submitting.add_done_callback(lambda _: times.append(perf_counter() - begun))
        times: list[float] = []
        indexing = work.create_task(searchable(connection, len(documents) + 1))
    seconds = perf_counter() - begun
    spent = {name: round(now - before[name], 1) for name, now in processor_s(stack).items()}
    return {
        "documents": len(documents),
        "chunks": indexing.result(),
        "documents_per_s": round(len(documents) / seconds, 1),
        "seconds": round(seconds, 1),
        "submitted_after_s": round(times[0], 1),
        "processor_s": {name: value for name, value in spent.items() if value >= 0.1},
        "processor_s_in_all": round(sum(spent.values()), 1),
    }


async def main(stack: Path) -> None:
    """Measure and print."""
    served = StackAddresses.read(stack)
    addresses = Addresses(
        services={name: each["grpc"] for name, each in served.services.items()},
        kafka=served.kafka,
        kafka_passwords=served.kafka_passwords,
        credential_file=served.credential_file,
    )
    documents = corpus()
    chosen = documents[:: max(1, len(documents) // int(sys.argv[1]))] if len(sys.argv) > 1 else documents
    name = uuid4().hex[:8]
    async with Connection(f"bench-{name}", addresses) as connection:
        events = f"https://cms.example/{name}"
        await prepared(connection, events)
        figures = await measured(connection, chosen, stack, events)
    figures |= {"numeric_format": computed_format("auto"), "cores": os.cpu_count(), "load": os.getloadavg()[0]}
    sys.stdout.write(json.dumps(figures) + "\n")
    report("documents_per_s", figures["documents_per_s"], "/s")


if __name__ == "__main__":
    asyncio.run(main(Path(os.environ["TIDEMILL_TEST_STACK"]).resolve()))
