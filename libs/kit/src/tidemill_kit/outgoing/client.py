"""The client of every outgoing call by HTTP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2

from tidemill_core.origins import AllowedHosts
from tidemill_kit.outgoing.resolver import Resolver, SystemResolver
from tidemill_kit.outgoing.transport import CheckedTransport

MAX_REDIRECTS = 5
_MAX_CONNECT_S = 10.0

HttpError = httpx2.HTTPError
"""What a call fails with."""
InvalidAddress = httpx2.InvalidURL
"""Raised for what is no address."""


@asynccontextmanager
async def outgoing_client(
    *, allowed: AllowedHosts, timeout_s: float, follow_redirects: bool = False, resolve: Resolver | None = None
) -> AsyncIterator[httpx2.AsyncClient]:
    """Yield a client of `CheckedTransport`.

    A redirect, where they are followed, is checked as the first request is, and gets no credential of another origin.
    """
    system = SystemResolver()
    transport = CheckedTransport(
        allowed=allowed,
        resolve=resolve or system,
        connect_s=min(timeout_s, _MAX_CONNECT_S),
        # Connections are pooled by address: one that is kept could serve another host there, unverified.
        inner=httpx2.AsyncHTTPTransport(limits=httpx2.Limits(max_keepalive_connections=0)),
    )
    try:
        async with httpx2.AsyncClient(
            transport=transport,
            timeout=timeout_s,
            follow_redirects=follow_redirects,
            max_redirects=MAX_REDIRECTS,
            trust_env=False,
        ) as client:
            yield client
    finally:
        system.close()
