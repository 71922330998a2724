"""The client of every outgoing call by HTTP."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache

import httpx2

from tidemill_core.origins import AllowedHosts
from tidemill_kit.outgoing.resolver import Resolver, system_resolver
from tidemill_kit.outgoing.transport import CheckedTransport

MAX_REDIRECTS = 5
_MAX_CONNECT_S = 10.0

HttpError = httpx2.HTTPError
"""What a call fails with."""
InvalidAddress = httpx2.InvalidURL
"""Raised for what is no address."""


@asynccontextmanager
async def outgoing_client(
    *,
    allowed: AllowedHosts,
    timeout_s: float,
    project: str = "",
    follow_redirects: bool = False,
    resolve: Resolver | None = None,
) -> AsyncIterator[httpx2.AsyncClient]:
    """Yield a client of `CheckedTransport`, that looks names up in the share of the project that it calls for.

    A redirect, where they are followed, is checked as the first request is, and gets no credential of another origin.
    Certificates of authorities and look-ups are shared by all clients; connections are not.
    """
    transport = CheckedTransport(
        allowed=allowed,
        resolve=resolve or system_resolver(),
        project=project,
        connect_s=min(timeout_s, _MAX_CONNECT_S),
        # Connections are pooled by address: one that is kept could serve another host there, unverified.
        inner=httpx2.AsyncHTTPTransport(
            verify=await asyncio.to_thread(authorities), limits=httpx2.Limits(max_keepalive_connections=0)
        ),
    )
    async with httpx2.AsyncClient(
        transport=transport,
        timeout=timeout_s,
        follow_redirects=follow_redirects,
        max_redirects=MAX_REDIRECTS,
        trust_env=False,
    ) as client:
        yield client


@cache
def authorities() -> ssl.SSLContext:
    """Return what verifies other hosts; reading all authorities takes 16 ms."""
    return httpx2.create_ssl_context()
