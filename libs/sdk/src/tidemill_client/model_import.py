"""Import a model into the registry: local folders are hashed and uploaded, hub repositories are fetched by trainer."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

from tidemill.trainer.v1.model_pb2 import FolderSource, ManifestFile, ModelSource, ModelVersion, ModelVersionState
from tidemill.trainer.v1.model_registry_service_pb2 import (
    CompleteModelVersionRequest,
    GetModelVersionRequest,
    ImportModelRequest,
    UploadModelFileRequest,
    UploadModelFileStart,
)
from tidemill_client.connection import UPLOAD_LIMIT_S, Connection
from tidemill_client.retries import persistently
from tidemill_core.errors import DependencyUnavailable, PreconditionFailed
from tidemill_core.models.manifest import Manifest

CHUNK_BYTES = 256 * 1024
"""The fastest chunk size: gRPC copies larger messages more slowly."""
MAX_CONCURRENT_UPLOADS = 2
POLL_S = 0.5
PATIENCE_S = 120.0

Progress = Callable[[int, int], None]
"""Called with the sent and the total number of bytes; the former decreases when a file is retried."""


class ModelRefused(PreconditionFailed):
    """trainer rejected the model."""

    reason = "MODEL_REFUSED"


async def folder_source(folder: Path) -> ModelSource:
    """Return the manifest of a folder: every file with size and sha256. Hashing runs in a thread.

    Raises:
        ArtifactRefused: the folder contains a file that is not data.

    """
    manifest = await asyncio.to_thread(Manifest.from_folder, folder)
    files = [ManifestFile(path=file.path, size=file.size, sha256=file.sha256) for file in manifest.files]
    return ModelSource(folder=FolderSource(files=files))


async def import_model(  # noqa: PLR0913 - keyword-only
    connection: Connection,
    model: str,
    source: ModelSource,
    *,
    folder: Path | None = None,
    labels: Mapping[str, str] | None = None,
    progress: Progress = lambda _done, _total: None,
    patience_s: float = PATIENCE_S,
) -> tuple[ModelVersion, bool]:
    """Return the ready version with this content, and whether it was created. Idempotent.

    A version keeps the labels that it was made with. An upload that broke off goes on with the files that are not
    stored yet. A version that the trainer fetches is waited for as long as it proceeds.

    Raises:
        ArtifactRefused: a file may not be loaded; the error names it.
        ModelRefused: the version failed its checks.
        DependencyUnavailable: fetching it has waited for the hub for longer than `patience_s`; it goes on by itself.

    """
    request = ImportModelRequest(model=model, source=source, labels=labels)
    answer = await connection.models.ImportModel(request)
    version = answer.version
    if version.state == ModelVersionState.MODEL_VERSION_STATE_UPLOADING and folder is not None:
        version = await _Upload(connection, version, folder, progress).run()
    elif version.state == ModelVersionState.MODEL_VERSION_STATE_IMPORTING:
        version = await _fetched(connection, version, progress, patience_s)
    if version.state != ModelVersionState.MODEL_VERSION_STATE_READY:
        message = f"model version {version.id} is not ready: {version.message or 'its files are not all stored'}"
        raise ModelRefused(message, version=version.id)
    progress(version.total_bytes, version.total_bytes)
    return version, answer.created


class _Upload:
    """Uploads the missing files of one version."""

    def __init__(self, connection: Connection, version: ModelVersion, folder: Path, progress: Progress) -> None:
        self._connection = connection
        self._version = version
        self._folder = folder
        self._progress = progress
        self._stored_bytes = version.stored_bytes
        self._sent: dict[str, int] = {}
        self._turns = asyncio.Semaphore(MAX_CONCURRENT_UPLOADS)

    async def run(self) -> ModelVersion:
        """Upload every missing file and complete the version; the first error cancels the others and is raised."""
        try:
            async with asyncio.TaskGroup() as uploads:
                for artifact in self._version.artifacts:
                    if not artifact.stored:
                        uploads.create_task(self._send(artifact.path))
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        request = CompleteModelVersionRequest(id=self._version.id)
        return (await self._connection.models.CompleteModelVersion(request)).version

    async def _send(self, path: str) -> None:
        async with self._turns:
            await persistently(
                lambda: self._connection.models.UploadModelFile(self._messages(path), timeout=UPLOAD_LIMIT_S)
            )

    async def _messages(self, path: str) -> AsyncIterator[UploadModelFileRequest]:
        self._sent[path] = 0
        yield UploadModelFileRequest(start=UploadModelFileStart(version=self._version.id, path=path))
        with await asyncio.to_thread((self._folder / path).open, "rb") as file:
            while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
                yield UploadModelFileRequest(chunk=chunk)
                self._sent[path] += len(chunk)
                self._progress(self._stored_bytes + sum(self._sent.values()), self._version.total_bytes)


async def _fetched(
    connection: Connection, version: ModelVersion, progress: Progress, patience_s: float
) -> ModelVersion:
    """Wait until trainer has fetched or rejected the version, and return it."""
    loop = asyncio.get_running_loop()
    proceeded_at, stored_bytes = loop.time(), version.stored_bytes
    while version.state == ModelVersionState.MODEL_VERSION_STATE_IMPORTING:
        progress(version.stored_bytes, version.total_bytes)
        if version.stored_bytes != stored_bytes or not version.message:
            proceeded_at, stored_bytes = loop.time(), version.stored_bytes
        if loop.time() - proceeded_at > patience_s:
            message = f"model version {version.id} {version.message}; trainer keeps retrying"
            raise DependencyUnavailable(message, dependency="hugging_face", version=version.id)
        await asyncio.sleep(POLL_S)
        version = (await connection.models.GetModelVersion(GetModelVersionRequest(id=version.id))).version
    return version
