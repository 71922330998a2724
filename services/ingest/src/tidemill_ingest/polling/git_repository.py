"""A repository of Git, fetched and read in a process of its own, which connects to addresses that were checked."""

import os
import ssl
import stat
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, cast
from urllib.parse import urlsplit

import urllib3
from dulwich.client import Urllib3HttpGitClient
from dulwich.errors import (
    ApplyDeltaError,
    ChecksumMismatch,
    FileFormatException,
    GitProtocolError,
    NotGitRepository,
    WrongObjectException,
)
from dulwich.object_store import MaxTreeDepthExceeded
from dulwich.objects import Commit, ObjectID, Tag
from dulwich.repo import Repo

from tidemill_core.errors import isolated
from tidemill_core.origins import Origin
from tidemill_ingest.polling.domain.objects import ListedObject
from tidemill_ingest.polling.domain.origin import Polling
from tidemill_ingest.polling.domain.repository import GitRefused, GitRemote, GitTree

_USER_AGENT = "git/2.40 (tidemill)"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_DENIED = frozenset({401, 403})
_PACK_BYTES = 64 * 1024
"""What a pack of one file may have beside the file."""
_MAX_TAGS = 5
"""How many tags may lead to one another."""
_DAMAGED = (
    ApplyDeltaError,
    ChecksumMismatch,
    FileFormatException,
    WrongObjectException,
    MaxTreeDepthExceeded,
    zlib.error,
    KeyError,
    ValueError,
    AssertionError,
)


class _FileTooLargeError(Exception):
    pass


class _RefusedError(Exception):
    def __init__(self, *, reason: str, message: str) -> None:
        super().__init__(message)
        self.refused = GitRefused(reason=reason, message=message)


def fetch(folder: str, remote: GitRemote, polling: Polling, known: str) -> GitTree | GitRefused:
    """Fetch the one commit of a ref into an empty folder, without its history, and return its files.

    A commit that is `known` is not fetched.
    """
    try:
        with isolated():
            return _fetched(folder, remote, polling, known)
    except Exception as error:  # noqa: BLE001 - all that is not of a repository is raised again
        return _refusal(error)


def _refusal(error: Exception) -> GitRefused:
    """Return why a repository cannot be read.

    Raises:
        Exception: the error, where it says nothing about a repository.

    """
    if isinstance(error, _RefusedError):
        return error.refused
    if isinstance(error, NotGitRepository):
        return GitRefused(reason="ORIGIN_NOT_FOUND", message="there is no such repository: check url and secret")
    if isinstance(error, GitProtocolError | urllib3.exceptions.HTTPError | OSError):
        text = "the server does not answer, or not as Git does: check url; it is asked again later"
        return GitRefused(reason="ORIGIN_UNREACHABLE", message=text)
    if isinstance(error, _DAMAGED):
        return GitRefused(
            reason="ORIGIN_UNREADABLE", message="what the server sent is damaged, or not of Git: check url"
        )
    raise error


def read(folder: str, remote: GitRemote, version: str) -> bytes | GitRefused:
    """Return the bytes of a file, at most one more than a document may have; it is fetched where it was left out."""
    try:
        with isolated(), Repo(folder) as repository:
            if _sha(version) not in repository.object_store:
                most = remote.max_file_bytes + _PACK_BYTES
                _take(repository, remote, lambda _refs, depth=None: [version.encode()], max_bytes=most)  # noqa: ARG005 - dulwich's names
            found = repository.object_store[_sha(version)]
            return found.as_raw_string()[: remote.max_file_bytes + 1]
    except _FileTooLargeError:
        return bytes(remote.max_file_bytes + 1)  # more than a document may have, which is all that is asked of it
    except Exception as error:  # noqa: BLE001 - ditto
        return _refusal(error)


def _client(remote: GitRemote) -> Urllib3HttpGitClient:
    parts = urlsplit(remote.url)
    return Urllib3HttpGitClient(
        f"{parts.scheme}://{parts.netloc}/",
        pool_manager=cast("Any", _CheckedPool(remote)),
        username=remote.username or None,
        password=remote.password or None,
        timeout=remote.timeout_s,
        quiet=True,
    )


def _fetched(folder: str, remote: GitRemote, polling: Polling, known: str) -> GitTree:
    tips = list[str]()

    def requested(refs: Mapping[bytes, bytes], depth: int | None = None) -> list[bytes]:
        del depth
        tips.append(_tip(refs, remote.ref))
        return [] if tips[0] == known else [tips[0].encode()]

    with Repo.init_bare(Path(folder)) as repository:
        _take(repository, remote, requested, depth=1, without_files=bool(known))
        if tips[0] == known:
            return GitTree(commit=known, files=None)
        return _tree(repository, tips[0], polling, remote.max_files)


def _take(  # noqa: PLR0913 - a fetch, and its bounds
    repository: Repo,
    remote: GitRemote,
    requested: Callable[..., list[bytes]],
    *,
    depth: int | None = None,
    without_files: bool = False,
    max_bytes: int = 0,
) -> None:
    """Fetch objects; `without_files` leaves those out, where the server knows how to, which are fetched one by one.

    All that is fetched counts together; `max_bytes` is for what is fetched of one file.
    """
    left = remote.max_bytes - _packed(repository)
    with TemporaryFile(dir=repository.path) as file:
        result = _client(remote).fetch_pack(
            urlsplit(remote.url).path,
            cast("Any", requested),
            repository.get_graph_walker(),
            _bounded(file.write, left, remote.max_bytes, file_bytes=max_bytes),
            depth=depth,
            filter_spec=b"blob:none" if without_files else None,
        )
        if file.tell():
            file.seek(0)
            repository.object_store.add_thin_pack(file.read, None)
    repository.update_shallow(result.new_shallow, result.new_unshallow)


def _tip(refs: Mapping[bytes, bytes], ref: str) -> str:
    """Return the object that a ref names: a branch before a tag, and else the ref itself."""
    names = [f"refs/heads/{ref}", f"refs/tags/{ref}", ref] if ref else ["HEAD"]
    for name in names:
        if found := refs.get(name.encode()):
            return found.decode()
    text = (
        f"the repository has no branch or tag {ref!r}: nothing was deleted; check ref"
        if ref
        else ("the repository has no HEAD, as an empty one: nothing was deleted; push to it, or name a ref")
    )
    raise _RefusedError(reason="REF_NOT_FOUND", message=text)


def _tree(repository: Repo, tip: str, polling: Polling, max_files: int) -> GitTree:
    found = repository.object_store[_sha(tip)]
    for _ in range(_MAX_TAGS):
        if not isinstance(found, Tag):
            break
        found = repository.object_store[found.object[1]]
    if not isinstance(found, Commit):
        raise _RefusedError(reason="REF_NOT_FOUND", message="the ref names no commit: check ref")
    files, skipped = list[ListedObject](), 0
    for path, version in _files(repository, found.tree):
        if not polling.takes(path):
            skipped += 1
            continue
        if len(files) == max_files:
            text = f"has more than {max_files} files, the limit: narrow paths"
            raise _RefusedError(reason="TOO_MANY_OBJECTS", message=text)
        files.append(ListedObject(key=path, version=version))
    return GitTree(commit=tip, files=files, skipped=skipped)


def _files(repository: Repo, tree: ObjectID) -> Iterator[tuple[str, str]]:
    """Yield path and blob of each regular file; links and submodules are none."""
    for entry in repository.object_store.iter_tree_contents(tree):
        if entry.path is None or entry.mode is None or entry.sha is None or not stat.S_ISREG(entry.mode):
            continue
        yield entry.path.decode("utf-8", "replace"), entry.sha.decode()


def _packed(repository: Repo) -> int:
    """Return the bytes of the packs that were fetched."""
    return sum(each.stat().st_size for each in os.scandir(repository.object_store.pack_dir) if each.name.endswith("k"))


def _bounded(write: Callable[[bytes], int], left: int, max_bytes: int, *, file_bytes: int) -> Callable[[bytes], int]:
    written = 0

    def bounded(data: bytes) -> int:
        nonlocal written
        written += len(data)
        if file_bytes and written > file_bytes:
            raise _FileTooLargeError
        if written > left:
            text = f"the files of the commit have more than {max_bytes} bytes compressed, the limit"
            raise _RefusedError(reason="REPOSITORY_TOO_LARGE", message=text)
        return write(data)

    return bounded


def _sha(version: str) -> ObjectID:
    return ObjectID(version.encode())


class _CheckedPool:
    """Stands for urllib3's pool manager: connects to the addresses that were checked, and to nothing else."""

    headers: Mapping[str, str] = {"User-Agent": _USER_AGENT}

    def __init__(self, remote: GitRemote) -> None:
        self._origin = Origin.of(remote.url)
        self._pools = [self._pool(address) for address in remote.addresses]

    def request(self, method: str, url: str, **options: Any) -> urllib3.BaseHTTPResponse:  # noqa: ANN401 - handed on
        """Send a request to the first address that takes it; a redirect is refused."""
        parts = urlsplit(url)
        if Origin.of(url) != self._origin:
            raise _RefusedError(reason="ORIGIN_REFUSED", message="the server names another host, which is not asked")
        options["headers"] = {**options.get("headers", {}), "Host": urlsplit(str(self._origin)).netloc}
        target = f"{parts.path}{'?' if parts.query else ''}{parts.query}"
        response = self._answer(method, target, options)
        _check(response.status)
        response.url = url
        return response

    def _answer(self, method: str, target: str, options: Mapping[str, Any]) -> urllib3.BaseHTTPResponse:
        *others, last = self._pools
        for pool in others:
            with suppress(urllib3.exceptions.NewConnectionError):
                return pool.request(method, target, redirect=False, retries=False, **options)
        return last.request(method, target, redirect=False, retries=False, **options)

    def _pool(self, address: str) -> urllib3.HTTPConnectionPool:
        origin = self._origin
        if origin.scheme == "http":
            return urllib3.HTTPConnectionPool(address, origin.port)
        return urllib3.HTTPSConnectionPool(
            address,
            origin.port,
            ssl_context=ssl.create_default_context(),
            server_hostname=origin.host,
            assert_hostname=origin.host,
        )


def _check(status: int) -> None:
    if status in _DENIED:
        text = "the server turns ingest away: check username, the secret and what they may read"
        raise _RefusedError(reason="ACCESS_DENIED", message=text)
    if status in _REDIRECTS:
        text = "the repository is elsewhere, and redirects are not followed: declare its new url"
        raise _RefusedError(reason="ORIGIN_REFUSED", message=text)
