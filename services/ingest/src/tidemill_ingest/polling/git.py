"""Repositories of Git as sources are polled from them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol, TypeVar

from tidemill_core.origins import Origin
from tidemill_ingest.errors import OriginFailed
from tidemill_ingest.limits import OriginLimits
from tidemill_ingest.polling.domain.objects import ListedObject, Listing
from tidemill_ingest.polling.domain.origin import GitOrigin, Polling
from tidemill_ingest.polling.domain.repository import GitRefused, GitRemote, GitTree
from tidemill_kit.outgoing.addresses import CheckedAddresses, Unreachable
from tidemill_kit.workers.bounded_processes import WorkEndedError

R = TypeVar("R")
IMPORTS = ("tidemill_ingest.polling.git_repository",)


def fetched(folder: str, remote: GitRemote, polling: Polling, known: str) -> GitTree | GitRefused:
    """Fetch a commit; see `git_repository.fetch`."""
    from tidemill_ingest.polling.git_repository import fetch  # noqa: PLC0415 - a library that only the processes use

    return fetch(folder, remote, polling, known)


def read_file(folder: str, remote: GitRemote, version: str) -> bytes | GitRefused:
    """Read a file; see `git_repository.read`."""
    from tidemill_ingest.polling.git_repository import read  # noqa: PLC0415 - ditto

    return read(folder, remote, version)


class Processes(Protocol):
    """Runs work in processes of its own; `BoundedProcesses` does."""

    async def run(self, project: str, work: Callable[..., R], *arguments: object) -> R:
        """Return what the work returns.

        Raises:
            WorkEndedError: it took too much, or broke.

        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class GitCheckout:
    """Implements `ports.OpenOrigin`: one commit in a folder that goes when the poll ends."""

    processes: Processes
    project: str
    folder: str
    remote: GitRemote
    polling: Polling

    async def listing(self, known: str = "") -> Listing | None:
        """See `OpenOrigin.listing`."""
        tree = await self._run("fetching the repository", fetched, self.polling, known)
        if tree.files is None:
            return None
        return Listing(objects=tree.files, position=tree.commit, skipped=tree.skipped)

    async def read(self, listed: ListedObject) -> bytes | None:
        """See `OpenOrigin.read`."""
        return await self._run("reading a file of the repository", read_file, listed.version)

    async def _run(self, what: str, work: Callable[..., R | GitRefused], *arguments: object) -> R:
        try:
            found = await self.processes.run(self.project, work, self.folder, self.remote, *arguments)
        except WorkEndedError as ended:
            text = f"{what} {ended.why}: it is tried again later"
            raise OriginFailed(reason="ORIGIN_TOO_SLOW", message=text) from ended
        if isinstance(found, GitRefused):
            raise OriginFailed(reason=found.reason, message=found.message)
        return found


@asynccontextmanager
async def checked_out(  # noqa: PLR0913 - a repository, and by what it is fetched
    project: str,
    polling: Polling,
    origin: GitOrigin,
    *,
    password: str,
    addresses: CheckedAddresses,
    processes: Processes,
    folder: Path,
    limits: OriginLimits,
) -> AsyncIterator[GitCheckout]:
    """Yield a repository, to be fetched into a folder below this one.

    Raises:
        OriginFailed: it has no address that may be called.

    """
    try:
        found = await addresses.of(Origin.of(origin.url))
    except Unreachable as error:
        raise OriginFailed(reason="ORIGIN_UNREACHABLE", message=f"{origin.url} cannot be reached") from error
    remote = GitRemote(
        url=origin.url,
        ref=origin.ref,
        username=origin.username,
        password=password,
        addresses=tuple(map(str, found)),
        timeout_s=limits.timeout_s,
        max_bytes=limits.max_pack_bytes,
        max_file_bytes=limits.max_bytes,
        max_files=limits.max_objects,
    )
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    below = await asyncio.to_thread(TemporaryDirectory[str], dir=folder, prefix=f"{project}-")
    try:
        yield GitCheckout(
            processes=processes,
            project=project,
            folder=below.name,
            remote=remote,
            polling=polling,
        )
    finally:
        await asyncio.to_thread(below.cleanup)
