import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from libs.kit.tests.grpc.support import caller_as_source, settings, sources
from libs.kit.tests.notes import Note, NoteCodec, NoteNotFound
from tidemill.ingest.v1.source_service_pb2 import GetSourceRequest
from tidemill.ingest.v1.source_service_pb2_grpc import SourceServiceStub
from tidemill_core.application import Request
from tidemill_core.errors import DependencyUnavailable, Unauthenticated
from tidemill_core.grpc.client import open_channel
from tidemill_kit.access import revocation_reader
from tidemill_kit.runtime.settings import ServiceSettings
from tidemill_kit.service.app import App, Worker, serve
from tidemill_kit.service.backend import Backend
from tidemill_local import Addresses
from tidemill_testkit.access import TestIssuer
from tidemill_testkit.buckets import remove_bucket
from tidemill_testkit.polling import eventually
from tidemill_testkit.ports import free_port
from tidemill_testkit.stack import NewTopicFactory, unique_name


class Recorded:
    """A component that records when it starts and stops."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name = name
        self._log = log

    async def start(self) -> None:
        self._log.append(f"{self.name} started")

    async def stop(self) -> None:
        self._log.append(f"{self.name} stopped")


@pytest.fixture
async def of_service(stack: Addresses) -> AsyncIterator[ServiceSettings]:
    name = unique_name("kit")
    made = settings(
        kafka_bootstrap_servers=stack.kafka,
        mongo_uri=stack.mongo,
        mongo_database=name,
        s3_endpoint=stack.s3.endpoint,
        s3_access_key=stack.s3.access_key,
        s3_secret_key=stack.s3.secret_key,
        dependency_timeout_s=10,
    )
    yield made
    cleanup = Backend(made)
    await cleanup.database.client.drop_database(name)
    cleanup.database.client.close()


async def test_parts_start_from_the_stores_to_the_servers_and_stop_in_the_reverse_order(
    of_service: ServiceSettings,
) -> None:
    log: list[str] = []
    backend = Backend(of_service)

    async def prepare() -> None:
        log.append("stores started")

    async def close() -> None:
        log.append("stores stopped")

    backend.on_start(prepare)
    backend.on_stop(close)
    app = backend.app(
        servicers=[],
        erasures={},
        servers=[Recorded("server", log)],
        workers=[Recorded("worker", log)],
        components=[Recorded("engine", log)],
    )

    assert await _run(app, until=lambda: "server started" in log) == 0

    begun = ["stores started", "engine started", "worker started", "server started"]
    assert log == [*begun, "server stopped", "worker stopped", "engine stopped", "stores stopped"]


async def test_indexes_and_buckets_are_created_before_anything_else_starts(
    stack: Addresses, of_service: ServiceSettings
) -> None:
    backend, bucket = Backend(of_service), unique_name("kit")
    notes = backend.aggregates("notes", NoteCodec(), missing=NoteNotFound, lists=[("colour",)])
    backend.own_bucket(bucket)
    indexes: list[str] = []

    async def work() -> None:
        await notes.add(Note(id="n", project="acme"), request=Request.internal())
        await backend.objects.put(bucket, "key", b"1", media_type="text/plain")
        indexes.extend(await backend.database["notes"].index_information())
        await asyncio.Event().wait()

    app = backend.app(servicers=[], erasures={}, workers=[Worker("work", work)])
    assert await _run(app, until=lambda: indexes) == 0

    assert any("state.colour" in name for name in indexes)
    await remove_bucket(stack, bucket)


async def _run(app: App, *, until: Callable[[], object]) -> int:
    stop = asyncio.Event()
    running = asyncio.create_task(serve(app, stop=stop))
    await eventually(until)
    stop.set()
    return await running


async def test_where_issuers_are_configured_credentials_are_asked_for_once_all_revocations_were_read(
    of_service: ServiceSettings, new_topic: NewTopicFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer, topic = TestIssuer(tmp_path), await new_topic(configs={"cleanup.policy": "compact"})
    monkeypatch.setattr(revocation_reader.RevocationReader.__init__, "__kwdefaults__", {"topic": topic, "start_s": 30})
    port = free_port()
    backend = Backend(of_service.model_copy(update={"access_issuers": (issuer.setting,), "grpc_port": port}))
    stop, request = asyncio.Event(), GetSourceRequest(id="cms")
    running = asyncio.create_task(
        serve(backend.app(servicers=[sources(GetSource=caller_as_source)], erasures={}), stop=stop)
    )
    async with (
        open_channel(f"127.0.0.1:{port}", project="acme", credential=lambda: issuer.token("acme", "viewer")) as good,
        open_channel(f"127.0.0.1:{port}", project="acme") as none,
    ):
        call = SourceServiceStub(good).GetSource

        async def answered() -> bool:
            return bool((await call(request)).source.project == "acme")

        await eventually(answered, despite=(DependencyUnavailable,))
        with pytest.raises(Unauthenticated):
            await SourceServiceStub(none).GetSource(request)
    stop.set()
    assert await running == 0
