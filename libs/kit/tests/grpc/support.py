"""Real servers on port 0 whose handlers are written in the test."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn, cast

import grpc
from pydantic import SecretStr
from pydantic_settings import SettingsConfigDict

from tidemill.inference.v1.inference_service_pb2 import GenerateStreamRequest, GenerateStreamResponse
from tidemill.inference.v1.inference_service_pb2_grpc import (
    InferenceServiceStub,
    add_InferenceServiceServicer_to_server,
)
from tidemill.ingest.v1.document_service_pb2_grpc import DocumentServiceStub, add_DocumentServiceServicer_to_server
from tidemill.ingest.v1.source_pb2 import Source
from tidemill.ingest.v1.source_service_pb2 import (
    GetSourceRequest,
    GetSourceResponse,
)
from tidemill.ingest.v1.source_service_pb2_grpc import SourceServiceStub, add_SourceServiceServicer_to_server
from tidemill_kit.grpc.server import GrpcServer, Registration, current_caller
from tidemill_kit.runtime.settings import ServiceSettings
from tidemill_testkit.access import access_of, admin_channel, admin_headers, installation
from tidemill_testkit.audit import RecordedCalls

if TYPE_CHECKING:
    from tidemill_kit.access.access import Access
    from tidemill_kit.audit.trail import AuditTrail

Context = grpc.aio.ServicerContext[Any, Any]
ACME = tuple(admin_headers("acme").items())


class ProbeSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="PROBE_")


@cache
def settings(**changes: object) -> ProbeSettings:
    given: dict[str, Any] = {
        "grpc_port": 0,
        "kafka_bootstrap_servers": "127.0.0.1:1",
        "mongo_uri": "mongodb://127.0.0.1:1",
        "mongo_database": "probe",
        "s3_endpoint": "127.0.0.1:1",
        "s3_access_key": "key",
        "s3_secret_key": SecretStr("secret"),
        "log_format": "json",
        "access_issuers": (installation().setting,),
        "probe_interval_s": 0.1,
        "dependency_timeout_s": 0.5,
        "shutdown_grace_s": 4.0,
        "max_requests_per_minute_of_project": 0,  # what a limit needs says so
        "max_requests_per_minute_of_subject": 0,
    }
    return ProbeSettings(**{**given, **changes})


class Servicer:
    """Has the handlers that it is given, by the names of the RPCs; any other RPC fails."""

    def __init__(self, **handlers: Callable[..., object]) -> None:
        self._handlers = handlers

    def __getattr__(self, name: str) -> Callable[..., object]:
        return self._handlers.get(name, _unwanted)


async def _unwanted(_request: object, _context: Context) -> None:
    raise NotImplementedError


def sources(**handlers: Callable[..., object]) -> Registration:
    return add_SourceServiceServicer_to_server, Servicer(**handlers)


def documents(**handlers: Callable[..., object]) -> Registration:
    return add_DocumentServiceServicer_to_server, Servicer(**handlers)


def inferences(**handlers: Callable[..., object]) -> Registration:
    return add_InferenceServiceServicer_to_server, Servicer(**handlers)


@dataclass(frozen=True)
class Running:
    """A running server, and stubs for it: those of the kit for project acme, and gRPC's own."""

    server: GrpcServer
    kit: grpc.aio.Channel
    raw: grpc.aio.Channel

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.port}"

    async def get_source(self, *, timeout: float | None = None) -> GetSourceResponse:  # noqa: ASYNC109 - gRPC's word
        return await SourceServiceStub(self.kit).GetSource(GetSourceRequest(id="cms"), timeout=timeout)

    async def get_source_plainly(
        self,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - gRPC's word
        metadata: tuple[tuple[str, str], ...] = ACME,
    ) -> GetSourceResponse:
        request = GetSourceRequest(id="cms")
        return await SourceServiceStub(self.raw).GetSource(request, timeout=timeout, metadata=metadata)

    def generate(self) -> grpc.aio.UnaryStreamCall[GenerateStreamRequest, GenerateStreamResponse]:
        return InferenceServiceStub(self.kit).GenerateStream(GenerateStreamRequest())

    @property
    def documents(self) -> DocumentServiceStub:
        return DocumentServiceStub(self.kit)


@asynccontextmanager
async def serving(*servicers: Registration, **changes: object) -> AsyncIterator[Running]:
    """Serve with these settings; `access` is what checks credentials, `audit` what records calls."""
    access, audit = changes.pop("access", None) or access_of(), changes.pop("audit", None) or RecordedCalls()
    server = GrpcServer(settings(**changes), servicers, access=cast("Access", access), audit=cast("AuditTrail", audit))
    await server.start()
    address = f"127.0.0.1:{server.port}"
    try:
        async with (
            admin_channel(address, name="probe", project="acme") as kit,
            grpc.aio.insecure_channel(address) as raw,
        ):
            yield Running(server, kit, raw)
    finally:
        await server.stop(0)


class Lines:
    """The JSON lines that the process has logged."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    def named(self, event: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.text.splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]


async def caller_as_source(_request: GetSourceRequest, _context: Context) -> GetSourceResponse:
    return GetSourceResponse(source=Source(id="cms", project=current_caller().project))


async def wait_for_ever(_request: object, _context: Context) -> NoReturn:
    await asyncio.Event().wait()
    raise AssertionError
