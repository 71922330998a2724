"""A gRPC server on which every RPC has declared who may call it, with health, reflection and the edge around it.

Entry points find here all that they need: `current_caller`, `request_of`, `page_of`, `remaining_s`, etags, masks.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from tidemill_core.deadlines import remaining_s
from tidemill_core.grpc.client import KEEPALIVE_ANSWER_MS, KEEPALIVE_MS
from tidemill_core.grpc.context import current_caller
from tidemill_kit.access.access import Access
from tidemill_kit.access.tokens import MAX_TOKEN
from tidemill_kit.audit.trail import AuditTrail
from tidemill_kit.grpc.admission import Admission, Limits
from tidemill_kit.grpc.interceptors import EdgeInterceptor
from tidemill_kit.grpc.policies import UndeclaredRpcs, policies_of, public_policies
from tidemill_kit.grpc.requests import (
    page_of,
    paths_of,
    request_of,
    required,
    timestamp_of,
    write_of,
)
from tidemill_kit.runtime.settings import PortTaken, ServiceSettings

__all__ = [
    "GrpcServer",
    "Registration",
    "UndeclaredRpcs",
    "current_caller",
    "page_of",
    "paths_of",
    "remaining_s",
    "request_of",
    "required",
    "timestamp_of",
    "write_of",
]

Registration = tuple[Callable[[Any, grpc.aio.Server], None], object]
"""A generated `add_...Servicer_to_server`, and the servicer."""

READINESS = ""
LIVENESS = "liveness"
"""The services that grpc.health.v1 is asked about."""

OPEN = (health.SERVICE_NAME, reflection.SERVICE_NAME)
"""Services of gRPC itself, which any caller may call; what else has no policy is not served."""

HANDSHAKE_MS = 10_000
"""How long a new connection may take to speak HTTP/2."""
MAX_METADATA = 2 * MAX_TOKEN
"""Bytes of a call's metadata."""

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def admission_of(settings: ServiceSettings) -> Admission:
    """Return the places for RPCs in a process, which all its APIs share."""
    limits = Limits(
        max_rpcs=settings.max_concurrent_rpcs,
        max_public_streams=settings.max_public_streams,
        max_streams_of_project=settings.max_streams_of_project,
        requests_per_minute_of_project=settings.max_requests_per_minute_of_project,
        requests_per_minute_of_subject=settings.max_requests_per_minute_of_subject,
    )
    return Admission(limits)


class GrpcServer:
    """Serves the servicers from `start` to `stop`; alive at once, ready when `set_ready` says so.

    `admission` is what it shares with other APIs of the process, `access` what checks credentials, `audit` what records
    the calls of audited RPCs.

    Raises:
        UndeclaredRpcs, NoAudit: at construction.

    """

    def __init__(  # noqa: PLR0913 - what the APIs of a process share
        self,
        settings: ServiceSettings,
        servicers: Sequence[Registration],
        *,
        access: Access,
        admission: Admission | None = None,
        audit: AuditTrail | None = None,
        closed: Callable[[], str] = lambda: "",
    ) -> None:
        services = Services(servicers)
        admission = admission or admission_of(settings)
        self._edge = services.edge(settings, admission=admission, access=access, audit=audit, closed=closed)
        self._server = grpc.aio.server(
            interceptors=[self._edge],
            options=_options(settings),
        )
        self._health = health.aio.HealthServicer()
        services.add_to(self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if settings.grpc_reflection:
            reflection.enable_server_reflection([*services.names, *OPEN], cast("grpc.Server", self._server))
        self._settings = settings
        self.port = 0
        """The port in use, once it has started."""

    async def start(self) -> None:
        """Listen: liveness is SERVING, readiness is not.

        Raises:
            PortTaken: another process listens there.

        """
        settings = self._settings
        try:
            address, credentials = f"{settings.host}:{settings.grpc_port}", settings.tls.server_credentials()
            if credentials is None:
                self.port = self._server.add_insecure_port(address)
            else:
                self.port = self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise PortTaken(settings, "grpc_port") from error
        await self._health.set(READINESS, _NOT_SERVING)
        await self._health.set(LIVENESS, _SERVING)
        await self._server.start()

    async def set_ready(self, ready: bool) -> None:  # noqa: FBT001 - a setter
        """Report to the health service whether this process takes traffic."""
        await self._health.set(READINESS, _SERVING if ready else _NOT_SERVING)

    async def stop(self, grace_s: float) -> None:
        """Take no more RPCs, give those that run `grace_s` to end, then cancel them."""
        await self._health.enter_graceful_shutdown()
        stopping = asyncio.create_task(self._server.stop(grace_s))
        self._edge.end_watches()
        await stopping


class Services:
    """Stands in for a server, to learn which services and methods registrations add, before one has them."""

    def __init__(self, servicers: Sequence[Registration]) -> None:
        self.handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        self._generic: list[grpc.ServiceRpcHandler] = []
        self._registered: dict[str, Mapping[str, grpc.RpcMethodHandler[Any, Any]]] = {}
        for register, servicer in servicers:
            register(servicer, cast("grpc.aio.Server", self))

    @property
    def names(self) -> list[str]:
        """The names of the services."""
        return [str(handler.service_name()) for handler in self._generic]

    def add_generic_rpc_handlers(self, handlers: Iterable[grpc.ServiceRpcHandler]) -> None:
        """Keep them."""
        self._generic += handlers

    def add_registered_method_handlers(
        self, service_name: str, handlers: "Mapping[str, grpc.RpcMethodHandler[Any, Any]]"
    ) -> None:
        """Keep them by their methods; generated code calls both."""
        self._registered[service_name] = handlers
        self.handlers |= {f"/{service_name}/{name}": handler for name, handler in handlers.items()}

    def add_to(self, server: grpc.aio.Server) -> None:
        """Add what was registered to a server, without making each handler anew."""
        server.add_generic_rpc_handlers(tuple(self._generic))
        for name, handlers in self._registered.items():
            server.add_registered_method_handlers(name, handlers)

    def edge(
        self,
        settings: ServiceSettings,
        *,
        admission: Admission,
        access: Access,
        audit: AuditTrail | None,
        closed: Callable[[], str] = lambda: "",
    ) -> EdgeInterceptor:
        """Return what stands around each handler.

        Raises:
            UndeclaredRpcs: some say neither who may call them nor whether that is recorded.
            NoAudit: some are audited, and nothing would record them.

        """
        return EdgeInterceptor(
            policies_of(self.names) | public_policies(OPEN),
            admission=admission,
            max_items=settings.max_request_items,
            idle_s=settings.stream_idle_s,
            max_deadline_s=settings.max_deadline_s,
            closed=closed,
            max_reply_bytes=settings.max_message_bytes,
            access=access,
            audit=audit,
        )


def _options(settings: ServiceSettings) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        # Of one connection, and above all that is answered: a client shall be refused, not kept waiting.
        ("grpc.max_concurrent_streams", 2 * (settings.max_concurrent_rpcs + settings.max_public_streams)),
        # Holds the largest credential beside the rest. Both limits, else gRPC refuses at random in between.
        ("grpc.max_metadata_size", MAX_METADATA),
        ("grpc.absolute_max_metadata_size", MAX_METADATA),
        ("grpc.so_reuseport", 0),  # else a second process would silently share the port
        # Connections whose other side is gone end, those who ping as often as this kit's channels do not.
        ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS),
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_ANSWER_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.min_ping_interval_without_data_ms", KEEPALIVE_MS // 2),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", KEEPALIVE_MS // 2),
    ]
