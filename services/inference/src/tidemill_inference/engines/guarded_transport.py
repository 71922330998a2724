"""HTTP to a remote model's address, which a project chose: checked by the kit, and bounded in what is read."""

from collections.abc import AsyncIterator

import httpx2

from tidemill_core.origins import AllowedHosts, Origin
from tidemill_kit.outgoing.resolver import Resolver
from tidemill_kit.outgoing.transport import CheckedTransport

MAX_ERROR_BYTES = 64 * 1024
"""What is read of an answer that is an error."""
MAX_EVENT_BYTES = 4 * 1024 * 1024
"""What an endpoint may send before an empty line ends an event."""
MAX_EVENT_PARTS = 32 * 1024
"""The most objects and lists in one event: converting them to Python's blocks the event loop."""
_BAD_REQUEST = 400


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Sends requests to one origin only, by the kit's checked transport, and reads no more of an answer than fits."""

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
        self._checked = CheckedTransport(
            only=origin, project=project, allowed=allowed, resolve=resolve, connect_s=connect_s, inner=inner
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request."""
        response = await self._checked.handle_async_request(request)
        if response.headers.get("content-encoding", "identity") != "identity":
            await response.aclose()
            message = "the response is compressed, although no encoding was requested"
            raise httpx2.RemoteProtocolError(message, request=request)
        assert isinstance(response.stream, httpx2.AsyncByteStream)  # noqa: S101 - an asynchronous transport made it
        whole = MAX_ERROR_BYTES if response.status_code >= _BAD_REQUEST else None
        response.stream = _Bounded(response.stream, request, whole=whole)
        return response

    async def aclose(self) -> None:
        """Close the connections."""
        await self._checked.aclose()


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
