"""Looks names up without blocking the event loop, so many at a time for each project."""

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol
from weakref import WeakKeyDictionary

from tidemill_core.origins import IPAddress
from tidemill_kit.workers.bounded_processes import Shares

_RESOLVERS = 8
"""Threads that look names up; a project has two of them."""


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


_of_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, SystemResolver] = WeakKeyDictionary()


def system_resolver() -> SystemResolver:
    """Return the resolver of the running event loop, so that the share of a project holds for all that it calls."""
    loop = asyncio.get_running_loop()
    found = _of_loops.get(loop)
    if found is None:
        found = _of_loops[loop] = SystemResolver()
    return found
