"""A wire to a server that a test can cut or leave hanging."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class Wire:
    """Passes bytes on between its own `address` and a server."""

    def __init__(self, target: str) -> None:
        self._host, port = target.rsplit(":", 1)
        self._port = int(port)
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._breaks = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._connections: set[asyncio.Task[None] | None] = set()
        self._server: asyncio.Server | None = None
        self.address = ""

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        _, port = self._server.sockets[0].getsockname()
        self.address = f"127.0.0.1:{port}"

    def hang(self) -> None:
        """Keep every connection, and pass nothing on."""
        self._flowing.clear()

    def flow(self) -> None:
        self._flowing.set()

    def cut(self) -> None:
        """Close every connection, and take no new one."""
        assert self._server is not None
        self._server.close()
        self.drop()

    async def stop(self) -> None:
        self.flow()
        self.cut()
        await asyncio.gather(*(task for task in self._connections if task), return_exceptions=True)

    async def repair(self) -> None:
        """Take connections again, at the same address."""
        _, port = self.address.rsplit(":", 1)
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", int(port))

    def break_next(self) -> None:
        """Close every connection when the next bytes come, and take new ones."""
        self._breaks = True

    def drop(self) -> None:
        """Close every connection, and take new ones."""
        self._breaks = False
        for writer in self._writers:
            writer.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(asyncio.current_task())
        there_reader, there_writer = await asyncio.open_connection(self._host, self._port)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pass_on(reader, there_writer))
            group.create_task(self._pass_on(there_reader, writer))

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                await self._flowing.wait()
                if self._breaks:
                    self.drop()
                writer.write(data)
                await writer.drain()
        self._writers.discard(writer)
        writer.close()


@asynccontextmanager
async def wire_to(target: str) -> AsyncIterator[Wire]:
    wire = Wire(target)
    await wire.start()
    try:
        yield wire
    finally:
        await wire.stop()
