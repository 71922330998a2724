"""uvicorn as a component of the service, on the service's own event loop."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp

from tidemill_core.errors import PreconditionFailed
from tidemill_kit.http.connections import ConnectionLimits, Connections
from tidemill_kit.http.settings import HttpSettings

_LIMITS = ConnectionLimits()
_CANCELLATION_S = 1.0


class HttpPortTaken(PreconditionFailed):
    """The HTTP port cannot be bound."""

    reason = "PORT_TAKEN"


class _Server(uvicorn.Server):
    """Leaves signals to the service, and reports when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen."""
        await super().startup(sockets)
        self.listening.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let requests end, then cancel them and send what they answer to that."""
        await super().shutdown(sockets)
        if tasks := set(self.server_state.tasks):
            await asyncio.wait(tasks, timeout=_CANCELLATION_S)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def server_of(app: Starlette, settings: HttpSettings) -> "HttpServer":
    """Return the server of a service's HTTP API."""
    return HttpServer(
        app,
        host=settings.host,
        port=settings.http_port,
        grace_s=settings.request_grace_s,
        limits=ConnectionLimits(
            idle_s=settings.http_idle_s, header_s=settings.http_header_s, max_connections=settings.http_max_connections
        ),
        setting=settings.variable("http_port"),
    )


class HttpServer:
    """Serves an ASGI application from `start` to `stop`; `setting` names the port.

    Implements `service.Watched` and `service.Draining`.
    """

    name = "http"

    def __init__(  # noqa: PLR0913 - where it listens, what it serves, and limits
        self,
        app: ASGIApp,
        *,
        host: str,
        port: int,
        grace_s: float,
        limits: ConnectionLimits = _LIMITS,
        setting: str = "HTTP_PORT",
    ) -> None:
        self._address = (host, port)
        self._setting = setting
        config = uvicorn.Config(
            app,
            http=cast("type[asyncio.Protocol]", Connections(limits).protocol),
            timeout_keep_alive=cast("int", limits.idle_s),
            access_log=False,
            lifespan="off",
            log_config=None,
            timeout_graceful_shutdown=cast("int", grace_s),
            ws="none",
        )
        self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None
        self.port = 0
        """The port in use, once it has started."""

    async def start(self) -> None:
        """Listen.

        Raises:
            HttpPortTaken: another process listens there.

        """
        try:
            listening = socket.create_server(self._address, backlog=1024)
        except OSError as error:
            host, port = self._address
            message = (
                f"{host}:{port} cannot be listened on ({error.strerror}): end what listens there, or set "
                f"{self._setting} to a free port"
            )
            raise HttpPortTaken(message) from error
        self.port = listening.getsockname()[1]
        self._task = asyncio.create_task(self._server.serve(sockets=[listening]), name=self.name)
        listens = asyncio.ensure_future(self._server.listening.wait())
        await asyncio.wait({listens, self._task}, return_when=asyncio.FIRST_COMPLETED)
        listens.cancel()

    async def wait(self) -> None:
        """Return or raise as the server ends."""
        if self._task is not None:
            await asyncio.wait({self._task})
            self._task.result()

    def begin_stop(self) -> None:
        """Take no more requests, and give those that run the grace to end. See `service.Draining`."""
        self._server.should_exit = True

    async def stop(self) -> None:
        """Wait until the last request has ended."""
        self.begin_stop()
        if self._task is not None:
            await asyncio.wait({self._task})
