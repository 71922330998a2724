"""HTTP to public addresses, and to hosts that the operator allows; checked for each request, so for redirects too."""

import asyncio
from collections.abc import Sequence

import httpx2

from tidemill_core.errors import RateLimited
from tidemill_core.origins import AllowedHosts, IPAddress, Origin, is_public
from tidemill_kit.outgoing.resolver import Resolver


class CheckedTransport(httpx2.AsyncBaseTransport):
    """Sends requests by TLS to public addresses, and as they are to hosts that the operator allows.

    It connects to the address that it checked, so that a second resolution cannot return another one. A refused address
    fails exactly as one where nothing listens. With `only`, nothing goes to another origin. Proxies of the environment
    are not used: they would resolve the name themselves.
    """

    def __init__(  # noqa: PLR0913 - keyword-only, and each of another kind
        self,
        *,
        allowed: AllowedHosts,
        resolve: Resolver,
        connect_s: float,
        project: str = "",
        only: Origin | None = None,
        inner: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._allowed = allowed
        self._resolve = resolve
        self._connect_s = connect_s
        self._project = project
        self._only = only
        self._inner = inner or httpx2.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request to the first checked address that takes it."""
        try:
            origin = Origin.of(str(request.url))
        except ValueError as error:
            raise _unreachable(request) from error
        if self._only is not None and origin != self._only:
            raise _unreachable(request)
        for address in await self._checked(request, origin):
            sent = httpx2.Request(
                request.method,
                request.url.copy_with(host=str(address)),
                headers=request.headers,
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": origin.host},
            )
            try:
                return await self._inner.handle_async_request(sent)
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                continue
        raise _unreachable(request)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()

    async def _checked(self, request: httpx2.Request, origin: Origin) -> Sequence[IPAddress]:
        """Return the host's addresses, none of which leads inside."""
        allowed = self._allowed.allow(origin)
        if origin.scheme != "https" and not allowed:
            raise _unreachable(request)
        try:
            async with asyncio.timeout(self._connect_s):
                literal = origin.literal
                found = [literal] if literal else await self._resolve(self._project, origin.host, origin.port)
        except (OSError, UnicodeError, TimeoutError, RateLimited) as error:
            raise _unreachable(request) from error
        if not allowed and not all(map(is_public, found)):
            raise _unreachable(request)
        return list(dict.fromkeys(found))


def _unreachable(request: httpx2.Request) -> httpx2.ConnectError:
    return httpx2.ConnectError("the address cannot be reached", request=request)
