"""Uploads and downloads by stream: so many at once, at most half of one project, and none that stands still."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from tidemill_core.errors import DeadlineExceeded, RateLimited

M = TypeVar("M")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How many uploads or downloads there are at once, how many of a project, and how long one may take."""

    max_concurrent: int
    of_project: int
    idle_s: float
    whole_s: float


@dataclass(slots=True)
class _Share:
    """A project's part of the places, and how many streams of it are there or wait for one."""

    places: asyncio.Semaphore
    streams: int = 0


class UploadPlaces:
    """Gives out the places of uploads, or of downloads; who has none waits, held back by gRPC."""

    def __init__(self, patience: Patience, *, kind: str = "uploads") -> None:
        self._patience = patience
        self._kind = kind
        self._places = asyncio.Semaphore(patience.max_concurrent)
        self._projects: dict[str, _Share] = {}

    @asynccontextmanager
    async def held(self, project: str) -> AsyncIterator[None]:
        """Hold a place until the block ends.

        Raises:
            RateLimited: too many of the project wait already.

        """
        share = self._projects.setdefault(project, _Share(asyncio.Semaphore(-(-self._patience.max_concurrent // 2))))
        if share.streams >= self._patience.of_project:
            message = (
                f"{share.streams} {self._kind} of the project are in progress, which is the limit: try again later"
            )
            raise RateLimited(message, retry_after_s=1)
        share.streams += 1
        try:
            async with share.places, self._places:
                yield
        finally:
            share.streams -= 1
            if not share.streams:
                del self._projects[project]

    async def patiently(self, messages: AsyncIterator[M]) -> AsyncGenerator[M, None]:
        """Yield the messages of one upload, for as long as it may take from now on.

        Raises:
            DeadlineExceeded: none came for too long, or the whole took too long.

        """
        clock, idle_s, whole_s = asyncio.get_running_loop(), self._patience.idle_s, self._patience.whole_s
        end = clock.time() + whole_s
        while True:
            try:
                async with asyncio.timeout(min(idle_s, end - clock.time())):
                    message = await anext(messages, None)
            except TimeoutError:
                why = f"no part of the upload came for {idle_s:g} s: upload it again"
                if clock.time() >= end:
                    why = f"the upload took more than {whole_s:g} s: send it faster, or in several parts"
                raise DeadlineExceeded(why) from None
            if message is None:
                return
            yield message

    async def given(self, project: str, pieces: AsyncGenerator[M, None]) -> AsyncGenerator[M, None]:
        """Yield the pieces of one download, which holds a place until they are read.

        A reader that stands still loses its place, and what `pieces` holds, although its call may stay.

        Raises:
            RateLimited: too many of the project wait already.
            DeadlineExceeded: no piece was taken for too long, or the whole took too long.

        """
        ready, taken = asyncio.Queue[M | None](), asyncio.Semaphore(1)
        reading = asyncio.create_task(self._read(project, pieces, ready, taken), name="download")
        try:
            while (piece := await ready.get()) is not None:
                yield piece
                taken.release()
            await reading
        finally:
            reading.cancel()
            await asyncio.wait([reading])

    async def _read(
        self, project: str, pieces: AsyncGenerator[M, None], ready: asyncio.Queue[M | None], taken: asyncio.Semaphore
    ) -> None:
        clock, idle_s, whole_s = asyncio.get_running_loop(), self._patience.idle_s, self._patience.whole_s
        try:
            async with self.held(project), aclosing(pieces):
                end = clock.time() + whole_s
                async for piece in pieces:
                    try:
                        async with asyncio.timeout(min(idle_s, end - clock.time())):
                            await taken.acquire()
                    except TimeoutError:
                        why = f"no part of the download was taken for {idle_s:g} s: begin it again"
                        if clock.time() >= end:
                            why = f"the download took more than {whole_s:g} s: read it faster"
                        raise DeadlineExceeded(why) from None
                    ready.put_nowait(piece)
        finally:
            ready.put_nowait(None)
