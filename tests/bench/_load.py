"""Requests by HTTP for measurements: prepared bytes on connections that stay open, so that the client costs little."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests of chat completions go; `body` is the same each time."""

    name: str
    url: str
    key: str
    model: str
    stream: bool = False
    same: bool = False
    """Whether each request asks the same."""

    def request(self, text: str) -> bytes:
        """Return the bytes of one request."""
        asked = {"model": self.model, "messages": [{"role": "user", "content": text}]}
        body = json.dumps({**asked, "stream": True} if self.stream else asked).encode()
        at = urlsplit(self.url)
        lines = (
            f"POST {at.path}/chat/completions HTTP/1.1",
            f"host: {at.netloc}",
            "content-type: application/json",
            f"authorization: Bearer {self.key}",
            f"content-length: {len(body)}",
        )
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Refused(Exception):
    """The answer has another status than 200."""


class Client:
    """One connection."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def connect(self) -> None:
        """Open the connection."""
        at = urlsplit(self.target.url)
        self._streams = await asyncio.open_connection(at.hostname, at.port)

    async def ask(self, text: str) -> float:
        """Send one request and return after how many seconds its answer was there as a whole.

        Raises:
            Refused: with the beginning of what was answered.

        """
        request = self.target.request(text)
        assert self._streams is not None, "connect first"
        reader, writer = self._streams
        began = perf_counter()
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if b"transfer-encoding: chunked" in head:
            body = await _chunked(reader)
        else:
            body = await reader.readexactly(int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0]))
        took = perf_counter() - began
        if b" 200 " not in head.split(b"\r\n", 1)[0]:
            raise Refused(head.split(b"\r\n", 1)[0].decode() + " " + body[:500].decode(errors="replace"))
        return took

    def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].close()


async def _chunked(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readexactly(2)
    return bytes(body)


@dataclass(frozen=True, slots=True)
class Load:
    """What a number of requests took: each one, and all of them."""

    times_s: Sequence[float]
    seconds: float

    @property
    def per_s(self) -> float:
        """Requests a second."""
        return len(self.times_s) / self.seconds


async def load(target: Target, requests: int, *, at_once: int, first: int = 0) -> Load:
    """Send so many requests on new connections, on each one after the other; no two texts are alike, or all of them."""
    clients = [Client(target) for _ in range(at_once)]
    numbers, times = iter(range(first, first + requests)), list[float]()
    for client in clients:
        await client.connect()

    async def send(client: Client) -> None:
        for number in numbers:
            times.append(await client.ask(f"Question {0 if target.same else number}: what does os.walk do in Python?"))

    began = perf_counter()
    try:
        async with asyncio.TaskGroup() as tasks:
            for client in clients:
                tasks.create_task(send(client))
        return Load(times, perf_counter() - began)
    finally:
        for client in clients:
            client.close()
