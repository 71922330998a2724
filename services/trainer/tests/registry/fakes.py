"""In-memory stores and hub, and a registry built on them."""

import asyncio
import hashlib
import json
import struct
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Caller, Request, ResourceKey
from tidemill_core.errors import DependencyUnavailable, TidemillError
from tidemill_core.models.manifest import ArtifactFile, Manifest
from tidemill_core.resources import Write
from tidemill_kit.access.grants import Grants, Shared
from tidemill_kit.access.revocations import Revocations
from tidemill_kit.store.objects import ObjectMissing
from tidemill_testkit.clocks import FixedClock
from tidemill_testkit.stores import InMemoryAggregates
from tidemill_trainer.errors import ModelNotFound, ModelVersionNotFound, SourceRefused
from tidemill_trainer.registry.approvals import ModelApprovals
from tidemill_trainer.registry.crud import ModelCrud
from tidemill_trainer.registry.domain.limits import ImportLimits
from tidemill_trainer.registry.domain.model import Model
from tidemill_trainer.registry.domain.model_version import ModelVersion
from tidemill_trainer.registry.domain.sources import FolderSource, Source
from tidemill_trainer.registry.download import DownloadVersion
from tidemill_trainer.registry.fetch_version import FetchVersion
from tidemill_trainer.registry.file_inspector import FileInspector
from tidemill_trainer.registry.file_spool import FileSpool
from tidemill_trainer.registry.import_model import ImportCommand, Imported, ImportModel
from tidemill_trainer.registry.mongo import MODELS, VERSIONS
from tidemill_trainer.registry.ports import HubFile, Snapshot
from tidemill_trainer.registry.references import References
from tidemill_trainer.registry.register_version import RegisterVersion
from tidemill_trainer.registry.shared import SharedVersions
from tidemill_trainer.registry.upload import UploadVersion

ADA = Caller(project="acme", subject="ada")


def safetensors(numbers: int = 2) -> bytes:
    """Return a file with one tensor of this many float32 zeros."""
    header = json.dumps({"weight": {"dtype": "F32", "shape": [numbers], "data_offsets": [0, 4 * numbers]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(4 * numbers)


def model_files(**more: bytes) -> dict[str, bytes]:
    """Return a small model folder; keyword arguments replace or add files, with `__` for a dot."""
    files = {"config.json": b'{"model_type": "llama"}', "model.safetensors": safetensors()}
    return files | {name.replace("__", "."): content for name, content in more.items()}


def manifest_of(files: Mapping[str, bytes]) -> Manifest:
    """Return the manifest of files given by path."""
    return Manifest(
        files=tuple(
            ArtifactFile(path=path, size=len(content), sha256=hashlib.sha256(content).hexdigest())
            for path, content in sorted(files.items())
        )
    )


async def chunks_of(content: bytes, *, size: int = 7) -> AsyncIterator[bytes]:
    """Yield the content in small chunks."""
    for begin in range(0, len(content), size):
        yield content[begin : begin + size]


class InMemoryArtifacts:
    """An in-memory exchange bucket that can be unavailable; passes the contract suite of the real one."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.away = False

    async def put(self, project: str, version: str, *, file: ArtifactFile, local: Path) -> ObjectRef:
        if self.away:
            message = "no answer"
            raise DependencyUnavailable(message, dependency="s3")
        key = f"{project}/{version}/{file.sha256}"
        self.objects[key] = await asyncio.to_thread(local.read_bytes)
        return ObjectRef(bucket="exchange", key=key, size=file.size, sha256=file.sha256)

    async def get(self, stored: ObjectRef, local: Path) -> None:
        if stored.key not in self.objects:
            raise ObjectMissing(stored.bucket, stored.key)
        await asyncio.to_thread(local.write_bytes, self.objects[stored.key])

    async def is_whole(self, stored: ObjectRef) -> bool:
        return len(self.objects.get(stored.key, b"")) == stored.size


class FakeHub:
    """A hub with repositories given by commit; it can be unavailable, also after some fetches."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.branches: dict[tuple[str, str], str] = {}
        self.commits: dict[str, dict[str, bytes]] = {}
        self.away = False
        self.fetched: list[str] = []
        self.fails_at: dict[str, BaseException] = {}
        """Path -> hook called once when it is fetched."""

    def publish(self, repository: str, commit: str, files: dict[str, bytes], *, branch: str = "main") -> None:
        self.branches[repository, branch] = commit
        self.commits[commit] = files

    async def commit_of(self, _project: str, repository: str, revision: str) -> str:
        self._answer()
        if revision in self.commits:
            return revision
        if (repository, revision) not in self.branches:
            message = f"the hub has no {repository} at {revision}"
            raise SourceRefused(message)
        return self.branches[repository, revision]

    async def snapshot(self, project: str, repository: str, commit: str) -> Snapshot:
        self._answer()
        files = [
            HubFile(path=path, size=len(content), sha256=hashlib.sha256(content).hexdigest())
            for path, content in self.commits[commit].items()
        ]
        return Snapshot(project=project, repository=repository, commit=commit, files=files)

    @asynccontextmanager
    async def fetch(self, snapshot: Snapshot, file: HubFile) -> AsyncIterator[tuple[ArtifactFile, Path]]:
        self._answer()
        if error := self.fails_at.pop(file.path, None):
            raise error
        content = self.commits[snapshot.commit][file.path]
        local = self._folder / f"fetched-{uuid4()}"
        local.write_bytes(content)
        self.fetched.append(file.path)
        yield ArtifactFile(path=file.path, size=len(content), sha256=hashlib.sha256(content).hexdigest()), local
        local.unlink()

    def _answer(self) -> None:
        if self.away:
            message = "no answer"
            raise DependencyUnavailable(message, dependency="hugging_face")


@dataclass(kw_only=True)
class Registry:
    """The use cases on in-memory stores."""

    folder: Path
    limits: ImportLimits = field(default_factory=ImportLimits)
    clock: FixedClock = field(default_factory=FixedClock)
    enqueued: list[ResourceKey] = field(default_factory=list)
    epoch: int = 0

    def __post_init__(self) -> None:
        self.models = InMemoryAggregates[Model](codec=MODELS, missing=ModelNotFound, clock=self.clock)
        self.versions = InMemoryAggregates[ModelVersion](codec=VERSIONS, missing=ModelVersionNotFound, clock=self.clock)
        self.artifacts = InMemoryArtifacts()
        self.hub = FakeHub(self.folder)
        self.spool = FileSpool(self.folder)
        inspector = FileInspector()
        references = References(models=self.models, versions=self.versions)
        self.import_model = ImportModel(
            models=self.models,
            versions=self.versions,
            hub=self.hub,
            limits=self.limits,
            clock=self.clock,
            enqueue=self.enqueued.append,
        )
        self.upload = UploadVersion(
            versions=self.versions,
            references=references,
            spool=self.spool,
            inspector=inspector,
            artifacts=self.artifacts,
            clock=self.clock,
        )
        self.grants = Grants(Revocations())
        self.shared = SharedVersions(
            references=references, shared=lambda project, name: self.grants.resolve(project, Shared.MODEL, name)
        )
        self.crud = ModelCrud(
            models=self.models, versions=self.versions, references=references, shared=self.shared, clock=self.clock
        )
        self.approvals = ModelApprovals(
            models=self.models, versions=self.versions, references=references, clock=self.clock
        )
        self.register_version = RegisterVersion(
            models=self.models, versions=self.versions, artifacts=self.artifacts, clock=self.clock
        )
        self.download = DownloadVersion(references=references, spool=self.spool, artifacts=self.artifacts)
        self.fetch_version = FetchVersion(
            models=self.models,
            versions=self.versions,
            hub=self.hub,
            inspector=inspector,
            artifacts=self.artifacts,
            limits=self.limits,
            clock=self.clock,
        )

    async def fetch(self, name: ResourceKey) -> bool:
        """Import a version with the next epoch of its lease; return whether it is finished."""
        self.epoch += 1
        return await self.fetch_version(name, epoch=self.epoch) is None

    async def begin(self, source: Source, *, model: str = "smollm2", request: str = "") -> Imported:
        """Import a source."""
        body = repr(source).encode()
        return await self.import_model(
            ADA, ImportCommand(model=model, source=source, request=Request.of(request, body))
        )

    async def begin_folder(self, files: Mapping[str, bytes], *, model: str = "smollm2") -> ModelVersion:
        """Create a version for a folder's files."""
        return (await self.begin(FolderSource(manifest=manifest_of(files)), model=model)).version

    async def send(self, version: str, path: str, content: bytes) -> ModelVersion:
        """Upload a file."""
        return await self.upload.file(ADA, version_id=version, path=path, chunks=chunks_of(content))

    async def finish(self, version: str) -> ModelVersion:
        """Complete a version."""
        return await self.upload.complete(ADA, version_id=version, request=Request.of("", b""))

    async def register(self, files: Mapping[str, bytes], *, model: str = "smollm2") -> ModelVersion:
        """Import a folder until it is READY."""
        version = await self.begin_folder(files, model=model)
        for path, content in files.items():
            await self.send(version.id, path, content)
        return await self.finish(version.id)

    async def delete(
        self, model: str = "smollm2", *, request: str = "", etag: str = "", validate_only: bool = False
    ) -> Model:
        """Delete a model."""
        write = Write(request=Request.of(request, b""), etag=etag, validate_only=validate_only)
        return await self.crud.delete(ADA, model, write)

    def files_left(self) -> Sequence[str]:
        """Return the names of the remaining local files."""
        return [path.name for path in self.folder.iterdir()]


def reason_of(error: BaseException) -> str:
    """Return the reason of an error."""
    assert isinstance(error, TidemillError)
    return error.reason
