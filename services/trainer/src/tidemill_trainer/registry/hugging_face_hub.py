"""The Hugging Face hub by its HTTP API; files are streamed, so that a download can be cancelled.

Calls go by the kit's client, which huggingface_hub's own could not: the hub may redirect to any address.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote
from weakref import WeakValueDictionary

from pydantic import BaseModel, Field, ValidationError

from tidemill_core.application import derived_id
from tidemill_core.errors import DependencyUnavailable, InvalidInput
from tidemill_core.models.manifest import ArtifactFile
from tidemill_core.origins import AllowedHosts
from tidemill_kit.outgoing.client import HttpError, InvalidAddress, outgoing_client
from tidemill_trainer.disk import disk_errors, refuse_if_full
from tidemill_trainer.errors import SourceRefused
from tidemill_trainer.registry.ports import HubFile, Snapshot

T = TypeVar("T")

CHUNK_BYTES = 1 << 20
MAX_INFO_BYTES = 16 * 1024 * 1024
"""The longest list of a repository's files that is read."""
TRANSIENT = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})


class _Lfs(BaseModel):
    sha256: str


class _File(BaseModel):
    rfilename: str
    size: int | None = None
    blob_id: str | None = Field(None, alias="blobId")
    lfs: _Lfs | None = None


class _Info(BaseModel):
    """What the hub says of a repository at a revision."""

    sha: str | None = None
    siblings: list[_File] = Field(default_factory=list)


class HuggingFaceHub:
    """Implements `ports.Hub`. An interrupted download leaves `<name>.part` in the folder and resumes from it.

    The token is used for the projects in `token_projects` only (`*` for all): it reads whatever its owner may read. It
    goes to the endpoint alone, and `allowed` are the hosts beside it that may be internal and without TLS.
    """

    def __init__(  # noqa: PLR0913 - an adapter is made of its parts, once
        self,
        folder: Path,
        *,
        endpoint: str,
        token: str,
        token_projects: Collection[str],
        timeout_s: float,
        allowed: AllowedHosts | None = None,
    ) -> None:
        self._folder = folder
        self._endpoint = endpoint.rstrip("/")
        self._token = token
        self._token_projects = frozenset(token_projects)
        reachable = (allowed or AllowedHosts()) | AllowedHosts.of_addresses(self._endpoint)
        self._client = partial(outgoing_client, allowed=reachable, timeout_s=timeout_s, follow_redirects=True)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()  # two models may need the same file

    def prepare(self) -> None:
        """Create the folder; downloads that a killed process left in a project's folder are resumed."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for part in self._folder.glob("*.part"):  # of an earlier version, without a project
            part.unlink()

    async def commit_of(self, project: str, repository: str, revision: str) -> str:
        """See `Hub.commit_of`."""
        info = await self._info(project, repository, revision, asked={"expand[]": "sha"})
        return _known(info.sha, "the commit")

    async def snapshot(self, project: str, repository: str, commit: str) -> Snapshot:
        """See `Hub.snapshot`."""
        info = await self._info(project, repository, commit, asked={"blobs": "true"})
        files = [
            HubFile(
                path=found.rfilename,
                size=_known(found.size, f"the size of {found.rfilename}"),
                sha256=found.lfs.sha256 if found.lfs else "",
                blob_id=found.blob_id or "",
            )
            for found in info.siblings or []
        ]
        return Snapshot(project=project, repository=repository, commit=commit, files=files)

    @asynccontextmanager
    async def fetch(self, snapshot: Snapshot, file: HubFile) -> AsyncIterator[tuple[ArtifactFile, Path]]:
        """See `Hub.fetch`."""
        by = "token" if self._token_of(snapshot.project) else ""
        name = derived_id("hugging_face", self._endpoint, by, snapshot.repository, snapshot.commit, file.path)
        part = self._folder / snapshot.project / f"{name}.part"
        async with self._turns.setdefault(str(part), asyncio.Lock()):
            with self._translated(), disk_errors():
                part.parent.mkdir(exist_ok=True)
                await self._download(snapshot, file, part)
                fetched = await asyncio.to_thread(_verified, file, part)
            try:
                yield fetched, part
            except InvalidInput:
                part.unlink(missing_ok=True)
                raise
            part.unlink(missing_ok=True)

    async def _info(self, project: str, repository: str, revision: str, *, asked: Mapping[str, str]) -> _Info:
        """Return what the hub says of a revision: its commit alone, or with the size and digest of each file."""
        url = f"{self._endpoint}/api/models/{quote(repository)}/revision/{quote(revision, safe='')}"
        with self._translated():
            async with (
                self._client(project=project) as client,
                client.stream("GET", url, params=asked, headers=self._headers(project)) as response,
            ):
                if response.is_error:
                    raise _http_error(repository, response.status_code)
                body = bytearray()
                async for chunk in response.aiter_raw(CHUNK_BYTES):
                    body += chunk
                    if len(body) > MAX_INFO_BYTES:
                        message = f"{repository} has a list of files of more than {MAX_INFO_BYTES} bytes"
                        raise SourceRefused(message)
        try:
            return _Info.model_validate_json(bytes(body))
        except ValidationError as error:
            message = f"{self._endpoint} does not answer as the hub does; it is retried"
            raise DependencyUnavailable(message, dependency="hugging_face") from error

    def _token_of(self, project: str) -> str:
        """Return the token for this project, "" for an anonymous request."""
        return self._token if self._token_projects & {project, "*"} else ""

    def _headers(self, project: str) -> Mapping[str, str]:
        token = self._token_of(project)
        return {"accept-encoding": "identity", **({"authorization": f"Bearer {token}"} if token else {})}

    async def _download(self, snapshot: Snapshot, file: HubFile, part: Path) -> None:
        """Download the rest of the part, up to the announced size."""
        present = _size_of(part)
        if present == file.size and present:
            return
        if present > file.size:
            present = 0
        refuse_if_full(self._folder, file.size - present)
        url = f"{self._endpoint}/{quote(snapshot.repository)}/resolve/{snapshot.commit}/{quote(file.path)}"
        headers = {**self._headers(snapshot.project), **({"range": f"bytes={present}-"} if present else {})}
        async with (
            self._client(project=snapshot.project) as client,
            client.stream("GET", url, headers=headers) as response,
        ):
            if response.is_error:
                what = f"{snapshot.repository}/{file.path}"
                raise _http_error(what, response.status_code)
            resumed = response.status_code == HTTPStatus.PARTIAL_CONTENT
            with await asyncio.to_thread(part.open, "ab" if resumed else "wb", 0) as target:
                capacity = file.size - (present if resumed else 0)
                async for chunk in response.aiter_raw():  # unbuffered, so that received bytes are kept
                    await asyncio.to_thread(target.write, chunk)
                    capacity -= len(chunk)
                    if capacity < 0:  # too long; verification fails
                        break

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (HttpError, InvalidAddress) as error:
            message = f"{self._endpoint} is unavailable ({type(error).__name__}); it is retried"
            raise DependencyUnavailable(message, dependency="hugging_face") from error


def _http_error(what: str, status: int) -> DependencyUnavailable | SourceRefused:
    if status in TRANSIENT or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        message = f"the hub answered {status}; it is retried"
        return DependencyUnavailable(message, dependency="hugging_face")
    message = (
        f"the hub refused {what} (HTTP {status}): check the name and the revision, and for a private or "
        "gated repository TRAINER_HUGGING_FACE_TOKEN, and that TRAINER_HUGGING_FACE_TOKEN_PROJECTS contains "
        "this project"
    )
    return SourceRefused(message, status=status)


def _size_of(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _known(value: T | None, what: str) -> T:
    if value is None:
        message = f"the hub does not report {what}; it is retried"
        raise DependencyUnavailable(message, dependency="hugging_face")
    return value


def _verified(file: HubFile, part: Path) -> ArtifactFile:
    """Compare the download with every digest that the hub announced; a mismatch restarts the download."""
    size = part.stat().st_size
    sha256, blob = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)  # git blob id
    with part.open("rb") as source:
        while chunk := source.read(CHUNK_BYTES):
            sha256.update(chunk)
            blob.update(chunk)
    if size < file.size:
        message = f"the download of {file.path} stopped after {size} of {file.size} bytes; it is resumed"
        raise DependencyUnavailable(message, dependency="hugging_face")
    announced = sha256.hexdigest() == file.sha256 if file.sha256 else file.blob_id in {"", blob.hexdigest()}
    if size != file.size or not announced:
        part.unlink()
        message = f"{file.path} does not match the hub's digest; it is downloaded again"
        raise DependencyUnavailable(message, dependency="hugging_face")
    return ArtifactFile(path=file.path, size=size, sha256=sha256.hexdigest())
