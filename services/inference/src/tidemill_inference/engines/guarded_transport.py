"""HTTP to an address that a project chose: resolved, checked, and connected to what was checked."""

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import httpx2

from tidemill_core.errors import RateLimited
from tidemill_kit.http.outgoing import AllowedHosts, IPAddress, Origin, is_public
from tidemill_kit.workers.bounded_processes import Shares

MAX_ERROR_BYTES = 64 * 1024
"""What is read of an answer that is an error."""
MAX_EVENT_BYTES = 4 * 1024 * 1024
"""What an endpoint may send before an empty line ends an event."""
MAX_EVENT_PARTS = 32 * 1024
"""The most objects and lists in one event: converting them to Python's blocks the event loop."""
_RESOLVERS = 8
"""Threads that look names up; a project has two of them."""
_BAD_REQUEST = 400


class Resolver(Protocol):
    """Finds the addresses of a name for a project."""

    async def __call__(self, project: str, host: str, port: int, /) -> Sequence[IPAddress]:
        """Return them, best first.

        Raises:
            OSError: the name has no address, or the name server does not answer.
            RateLimited: too many names of the project are looked up.

        """
        ...


class SystemResolver:
    """Asks the system's resolver, in separate threads: a name server that does not answer blocks no other work.

    A place is held until its thread ends, which cannot be cancelled, also after the caller was.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_RESOLVERS, thread_name_prefix="resolver")
        self._shares = Shares(_RESOLVERS // 4, waiting=_RESOLVERS, what="look-ups")
        self._under_way: set[asyncio.Task[Sequence[IPAddress]]] = set()

    async def __call__(self, project: str, host: str, port: int, /) -> Sequence[IPAddress]:
        """See `Resolver`."""
        task = asyncio.create_task(self._found(project, host, port), name=f"look up {host}")
        self._under_way.add(task)
        task.add_done_callback(self._forget)
        return await asyncio.shield(task)

    def close(self) -> None:
        """Let the threads go."""
        for task in self._under_way:
            task.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _found(self, project: str, host: str, port: int) -> Sequence[IPAddress]:
        async with self._shares.place(project):
            found = await asyncio.get_running_loop().run_in_executor(
                self._threads, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            )
        return [ipaddress.ip_address(str(address[0]).partition("%")[0]) for *_, address in found]

    def _forget(self, task: asyncio.Task[Sequence[IPAddress]]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # the caller may have been cancelled


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Sends requests to one origin only, and to no address but a public one unless the operator allows the host.

    It connects to the address that it checked, so that a second resolution cannot return another one. A refused address
    fails exactly as one where nothing listens.
    """

    def __init__(  # noqa: PLR0913 - keyword-only, and each of another kind
        self,
        origin: Origin,
        *,
        project: str,
        allowed: AllowedHosts,
        resolve: Resolver,
        connect_s: float,
        inner: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._origin = origin
        self._project = project
        self._allowed = allowed
        self._resolve = resolve
        self._connect_s = connect_s
        self._inner = inner or httpx2.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request to the first checked address that takes it."""
        if Origin.of(str(request.url)) != self._origin:
            raise _unreachable(request)
        for address in await self._checked(request):
            sent = httpx2.Request(
                request.method,
                request.url.copy_with(host=str(address)),
                headers=request.headers,
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": self._origin.host},
            )
            try:
                response = await self._inner.handle_async_request(sent)
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                continue
            return self._bounded(response, request)
        raise _unreachable(request)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()

    async def _checked(self, request: httpx2.Request) -> Sequence[IPAddress]:
        """Return the host's addresses, none of which leads inside."""
        try:
            async with asyncio.timeout(self._connect_s):
                literal = self._origin.literal
                name = self._project, self._origin.host, self._origin.port
                found = [literal] if literal else await self._resolve(*name)
        except (OSError, UnicodeError, TimeoutError, RateLimited) as error:
            raise _unreachable(request) from error
        if not self._allowed.allow(self._origin) and not all(map(is_public, found)):
            raise _unreachable(request)
        return list(dict.fromkeys(found))

    def _bounded(self, response: httpx2.Response, request: httpx2.Request) -> httpx2.Response:
        """Read no more than fits: neither a body that is packed, nor one that never ends."""
        if response.headers.get("content-encoding", "identity") != "identity":
            message = "the response is compressed, although no encoding was requested"
            raise httpx2.RemoteProtocolError(message, request=request)
        assert isinstance(response.stream, httpx2.AsyncByteStream)  # noqa: S101 - an asynchronous transport made it
        whole = MAX_ERROR_BYTES if response.status_code >= _BAD_REQUEST else None
        response.stream = _Bounded(response.stream, request, whole=whole)
        return response


class _Bounded(httpx2.AsyncByteStream):
    """Ends a body that is longer than `whole`, or has an event that is too long or of too many parts."""

    def __init__(self, inner: httpx2.AsyncByteStream, request: httpx2.Request, *, whole: int | None) -> None:
        self._inner = inner
        self._request = request
        self._whole = whole

    async def __aiter__(self) -> AsyncIterator[bytes]:
        unbroken, parts, last = 0, 0, b""
        async for chunk in self._inner:
            end = max((last + chunk).rfind(mark) for mark in (b"\n\n", b"\r\n\r\n"))
            if self._whole is None and end >= 0:
                unbroken, parts = len(last) + len(chunk) - end, _parts((last + chunk)[end:])
            else:
                unbroken, parts = unbroken + len(chunk), parts + _parts(chunk)
            if unbroken > (MAX_EVENT_BYTES if self._whole is None else self._whole) or parts > MAX_EVENT_PARTS:
                message = "the answer is too long"
                raise httpx2.RemoteProtocolError(message, request=self._request)
            last = chunk[-3:]
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()


def _parts(json: bytes) -> int:
    return json.count(b"{") + json.count(b"[")


def _unreachable(request: httpx2.Request) -> httpx2.ConnectError:
    return httpx2.ConnectError("the address cannot be reached", request=request)
