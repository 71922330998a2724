"""A folder is followed: what changes in it is sent, and what is deleted in it is deleted, where that is asked for."""

import asyncio
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from watchfiles import awatch

from tidemill_client.documents import Documents, NewDocument, Uploaded
from tidemill_client.files import Files, find_changed, key_of, whole_path
from tidemill_core.errors import NotFound, TidemillError

_DEBOUNCE_MS = 1600
"""Changes that come within so long are handled together: programs write a file in several steps."""
_QUIET_MS = 100
_TICK_MS = 1000
_RETRY_S = 2.0
_MAX_RETRY_S = 60.0
_MAX_CONCURRENT = 8
Signature = tuple[int, int]
"""When a file was changed last, in nanoseconds, and its size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """What became of one change."""

    key: str
    what: str
    message: str = ""


@dataclass(slots=True, kw_only=True)
class FollowFolders:
    """Sends what is another file than it was; in memory are the names and signatures of the files alone.

    What cannot be sent because a service is away is tried again, with what changed meanwhile.
    """

    documents: Documents
    source: str
    folders: Sequence[Path]
    below: Path | None
    delete: bool
    report: Callable[[Followed], None]
    _seen: dict[Path, Signature] = field(default_factory=dict)
    _skipped: set[Path] = field(default_factory=set)

    def expect(self, files: Files) -> None:
        """Take these files as known, before they are sent: what changes from now on is sent again."""
        self._seen |= {whole_path(path): signature for path in files.by_key.values() if (signature := _signature(path))}
        self._skipped |= {whole_path(each.path) for each in files.skipped}

    async def __call__(self, stop: asyncio.Event) -> None:
        """Follow the folders until the event is set; what is being sent then is sent to its end."""
        pending, retry_at, failures = {whole_path(folder) for folder in self.folders}, 0.0, 0
        # The first tick comes once the folders are watched: so what changed before is found as well.
        async for changes in awatch(
            *self.folders,
            watch_filter=None,
            debounce=_DEBOUNCE_MS,
            step=_QUIET_MS,
            stop_event=stop,
            rust_timeout=_TICK_MS,
            yield_on_timeout=True,
        ):
            pending |= {whole_path(Path(path)) for _, path in changes}
            if not pending or time.monotonic() < retry_at:
                continue
            if await self._handled(pending, stop):
                pending, failures = set(), 0
            else:
                retry_at = time.monotonic() + min(_MAX_RETRY_S, _RETRY_S * 2**failures)
                failures = min(failures + 1, 10)

    async def _handled(self, changed: AbstractSet[Path], stop: asyncio.Event) -> bool:
        """Send and delete what changed; return whether all of it was."""
        try:
            await self._send(changed, stop)
            if self.delete:
                await self._delete(self._gone(changed), stop)
        except TidemillError as error:
            self.report(Followed(key="", what="failed", message=f"{error.message}; trying again"))
            return False
        return True

    def _gone(self, changed: AbstractSet[Path]) -> Sequence[Path]:
        """Return the files that are not there any more; of a folder that is not there itself none is known to be."""
        there = [root for root in map(whole_path, self.folders) if root.is_dir()]
        return [
            path
            for path in self._seen
            if (path in changed or not changed.isdisjoint(path.parents))
            and any(path.is_relative_to(root) for root in there)
            and _is_gone(path)
        ]

    async def _send(self, changed: AbstractSet[Path], stop: asyncio.Event) -> None:
        files = find_changed(changed, self.folders, below=self.below)
        for skipped in files.unreadable:
            if skipped.path not in self._skipped:
                self._skipped.add(skipped.path)
                self.report(Followed(key=str(skipped.path), what="skipped", message=skipped.why))
        signatures = {path: _signature(path) for path in files.by_key.values()}
        new = (
            NewDocument(source=self.source, key=key, content=path)
            for key, path in files.by_key.items()
            if signatures[path] != self._seen.get(path) and not stop.is_set()
        )
        async for uploaded in self.documents.upload_many(new, max_concurrent=_MAX_CONCURRENT, skip_stored=True):
            path = files.by_key[uploaded.new.key]
            if signature := signatures[path]:
                self._seen[path] = signature
            self.report(_followed(uploaded))

    async def _delete(self, gone: Sequence[Path], stop: asyncio.Event) -> None:
        kept = {key_of(path, self.below) for path in self._seen.keys() - set(gone)}
        for path in gone:
            if stop.is_set():
                return
            key = key_of(path, self.below)
            if key in kept:  # it was renamed to another spelling of the same name
                del self._seen[path]
                continue
            try:
                await self.documents.delete(source=self.source, key=key, reason="its file was deleted")
            except NotFound:
                pass  # it was refused, or is deleted already
            else:
                self.report(Followed(key=key, what="deleted"))
            del self._seen[path]


def _is_gone(path: Path) -> bool:
    """Return whether a file is not there; where that must not be read it is not known."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


@contextmanager
def until_signalled() -> Iterator[asyncio.Event]:
    """Yield an event that SIGINT and SIGTERM set, once; the second one ends the process as ever."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def stopped() -> None:
        stop.set()
        restore()

    def restore() -> None:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)

    for number in before:
        loop.add_signal_handler(number, stopped)
    try:
        yield stop
    finally:
        restore()


def _followed(uploaded: Uploaded) -> Followed:
    if uploaded.refused:
        return Followed(key=uploaded.new.key, what="rejected", message=uploaded.refused.message)
    return Followed(key=uploaded.new.key, what=uploaded.outcome.value if uploaded.outcome else "stored")


def _signature(path: Path) -> Signature | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
