"""HTTP to a remote model's address, which a project chose: checked by the kit, and bounded in what is read."""

import asyncio
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from pydantic import SecretStr

from tidemill_core.origins import Origin
from tidemill_kit.outgoing.addresses import CheckedAddresses, Unreachable
from tidemill_kit.outgoing.client import authorities

MAX_ERROR_BYTES = 64 * 1024
"""What is read of an answer that is an error."""
MAX_WHOLE_BYTES = 4 * 1024 * 1024
"""What is read of an answer that is no stream."""
_GOOD = range(200, 300)
_DRAIN_S = 0.1
_KEPT_S = 4.0
"""How long a connection is kept unused: less than the 5 s after which many servers close it."""
_NO_KEY = "none"


class Refused(Exception):
    """The endpoint answers with another status than success."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__(status)
        self.status, self.headers, self.body = status, headers, body


class ConnectionFailed(Exception):
    """The endpoint cannot be reached, or its answer breaks off, or is too long, or compressed."""


class Endpoint:
    """Sends requests to one address only, and to nothing else that its name means by then.

    Connections are kept for some seconds, by the name that was checked; a new one is checked anew. Neither a redirect
    nor a proxy or a credential of the environment is used.
    """

    def __init__(self, base_url: str, addresses: CheckedAddresses, *, key: SecretStr | None, stall_s: float) -> None:
        """`stall_s` is the timeout without data."""
        self._origin, self._addresses = Origin.of(base_url), addresses
        self._base = f"{self._origin}{urlsplit(base_url).path.rstrip('/')}"
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=_Resolver(self._origin, addresses),
                use_dns_cache=False,
                keepalive_timeout=_KEPT_S,
                limit=0,
                ssl=authorities(),
            ),
            headers={
                "accept-encoding": "identity",
                "authorization": f"Bearer {key.get_secret_value() if key else _NO_KEY}",
            },
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=addresses.connect_s, sock_read=stall_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )

    async def close(self) -> None:
        """Let the connections go."""
        await self._session.close()

    async def get(self, path: str) -> bytes:
        """Return what is there; raises as `post`."""
        answer = await self._asked("GET", path, None)
        try:
            return await answer.whole()
        finally:
            await answer.leave()

    async def post(self, path: str, body: Mapping[str, Any]) -> "Answer":
        """Send JSON and return the answer, which is to be left.

        Raises:
            TimeoutError: nothing came in time.
            Refused: by its status.
            ConnectionFailed: it cannot be reached.

        """
        return await self._asked("POST", path, json.dumps(body, ensure_ascii=False, allow_nan=False).encode())

    async def _asked(self, method: str, path: str, body: bytes | None) -> "Answer":
        headers = {} if body is None else {"content-type": "application/json"}
        with _translated():
            if self._origin.literal is not None:  # for which no resolver is asked
                await self._addresses.of(self._origin)
            if self._session.closed:  # which aiohttp has no error of its own for
                message = "its connections were closed meanwhile"
                raise ConnectionFailed(message)
            response = await self._session.request(
                method, self._base + path, data=body, headers=headers, allow_redirects=False
            )
        if response.headers.get("content-encoding", "identity") != "identity":
            response.close()
            message = "the answer is compressed, although no encoding was requested"
            raise ConnectionFailed(message)
        answer = Answer(response)
        if response.status in _GOOD:
            return answer
        try:
            raise Refused(response.status, response.headers, await answer.beginning(MAX_ERROR_BYTES))
        finally:
            response.close()


class Answer:
    """What an endpoint answers, as it comes."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def more(self) -> bytes:
        """Return what has come, b"" at the end; raises as `Endpoint.post`."""
        with _translated():
            return await self._response.content.readany()

    async def whole(self) -> bytes:
        """Return all of it; raises as `Endpoint.post`."""
        read = bytearray()
        while more := await self.more():
            read += more
            if len(read) > MAX_WHOLE_BYTES:
                message = "the answer is too long"
                raise ConnectionFailed(message)
        return bytes(read)

    async def beginning(self, max_bytes: int) -> bytes:
        """Return about so much of it, or what has come where it breaks off."""
        read = bytearray()
        with suppress(TimeoutError, ConnectionFailed):
            while len(read) < max_bytes and (more := await self.more()):
                read += more
        return bytes(read)

    async def leave(self, *, ended: bool = False) -> None:
        """Break it off; one that has `ended` may keep its connection for the next one."""
        try:
            if ended:
                with suppress(TimeoutError, ConnectionFailed):
                    async with asyncio.timeout(_DRAIN_S):
                        await self.whole()
        finally:
            self._response.close()


class _Resolver(AbstractResolver):
    """Finds the checked addresses of one host."""

    def __init__(self, origin: Origin, addresses: CheckedAddresses) -> None:
        self._origin, self._addresses = origin, addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """See `AbstractResolver`; `family` is that of the connector, which takes both."""
        del family
        if (host, port) != (self._origin.host, self._origin.port):
            raise Unreachable
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=socket.AF_INET6 if address.version == 6 else socket.AF_INET,  # noqa: PLR2004 - as it is called
                proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in await self._addresses.of(self._origin)
        ]

    async def close(self) -> None:
        """Nothing is held."""


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except aiohttp.ConnectionTimeoutError as error:  # nothing listens there, or it may not be called
        raise ConnectionFailed(type(error).__name__) from error
    except TimeoutError:
        raise
    except (aiohttp.ClientError, OSError) as error:
        raise ConnectionFailed(type(error).__name__) from error
