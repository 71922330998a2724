"""HTTP to public addresses, and to hosts that the operator allows; checked for each request, so for redirects too."""

import httpx2

from tidemill_core.origins import AllowedHosts, Origin
from tidemill_kit.outgoing.addresses import CheckedAddresses, Unreachable
from tidemill_kit.outgoing.resolver import Resolver


class CheckedTransport(httpx2.AsyncBaseTransport):
    """Sends requests by TLS to public addresses, and as they are to hosts that the operator allows.

    It connects to the address that it checked (`CheckedAddresses`). Proxies of the environment are not used: they would
    resolve the name themselves.
    """

    def __init__(
        self,
        *,
        allowed: AllowedHosts,
        resolve: Resolver,
        connect_s: float,
        project: str = "",
        inner: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._addresses = CheckedAddresses(allowed=allowed, resolve=resolve, connect_s=connect_s, project=project)
        self._inner = inner or httpx2.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request to the first checked address that takes it."""
        try:
            origin = Origin.of(str(request.url))
            addresses = await self._addresses.of(origin)
        except (ValueError, Unreachable) as error:
            raise _unreachable(request) from error
        for address in addresses:
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


def _unreachable(request: httpx2.Request) -> httpx2.ConnectError:
    return httpx2.ConnectError("the address cannot be reached", request=request)
