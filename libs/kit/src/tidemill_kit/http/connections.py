"""Limits on HTTP connections: how many there are, how long one may be idle, and how long headers may take."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """What a server allows; the defaults are above what proxies and client pools keep a connection for."""

    idle_s: float = 75.0
    header_s: float = 10.0
    max_connections: int = 1024


@dataclass(slots=True)
class Connections:
    """The connections of one server that wait for a request, the one that waits for longest first."""

    limits: ConnectionLimits
    idle: "dict[BoundedConnection, None]" = field(default_factory=dict)

    def protocol(self, *args: Any, **kwargs: Any) -> "BoundedConnection":  # noqa: ANN401 - uvicorn's own
        """Return the protocol of a new connection, as uvicorn makes it."""
        return BoundedConnection(self, *args, **kwargs)


class BoundedConnection(H11Protocol):
    """uvicorn's protocol, whose only time-outs are for what comes after a whole request."""

    def __init__(self, shared: Connections, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - uvicorn's own
        super().__init__(*args, **kwargs)
        self._shared = shared
        self._headers_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection; above the limit, close the one that has been idle for longest, which may be this one."""
        super().connection_made(transport)
        self._shared.idle[self] = None
        self._await_headers()
        if len(self.connections) > self._shared.limits.max_connections:
            longest = next(iter(self._shared.idle))
            del self._shared.idle[longest]
            longest.transport.close()

    def data_received(self, data: bytes) -> None:
        """Take data; the first of a request begins the time for its headers."""
        if self._headers_due is None and self.conn.their_state is h11.IDLE:
            self._await_headers()
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._headers_are_there()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self._shared.idle[self] = None
        super().on_response_complete()
        if self.conn.their_state is not h11.IDLE:
            self._headers_are_there()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._headers_are_there()
        super().connection_lost(exc)

    def _await_headers(self) -> None:
        self._headers_due = self.loop.call_later(self._shared.limits.header_s, self._give_up)

    def _headers_are_there(self) -> None:
        self._shared.idle.pop(self, None)
        if self._headers_due is not None:
            self._headers_due.cancel()
            self._headers_due = None

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()
