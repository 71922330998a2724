"""Bring a model into the registry: a folder is hashed and uploaded from here, a hub repository is fetched there."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
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
from tidemill_kit.errors import PreconditionFailed
from tidemill_kit.manifest import Manifest

CHUNK_BYTES = 1 << 20
UPLOADS_AT_ONCE = 2
POLL_S = 0.5

Progress = Callable[[int, int], None]
"""Told how many bytes of how many are stored."""


class ModelRefused(PreconditionFailed):
    """The trainer looked at the model and will not load it."""

    reason = "MODEL_REFUSED"


async def folder_source(folder: Path) -> ModelSource:
    """Return the source that names every file of a folder with size and sha256 (about 1 GB a second).

    Raises:
        ArtifactRefused: the folder holds something that is not data.

    """
    manifest = await asyncio.to_thread(Manifest.from_folder, folder)
    files = [ManifestFile(path=file.path, size=file.size, sha256=file.sha256) for file in manifest.files]
    return ModelSource(folder=FolderSource(files=files))


async def import_model(
    connection: Connection,
    model: str,
    source: ModelSource,
    *,
    folder: Path | None = None,
    progress: Progress = lambda _done, _total: None,
) -> tuple[ModelVersion, bool]:
    """Return the ready version that has this content, and whether it is new. Doing it again uploads nothing.

    An upload that broke off goes on with the files that are not stored yet.

    Raises:
        ModelRefused: the version failed its checks.

    """
    answer = await connection.models.ImportModel(
        ImportModelRequest(model=model, source=source, request_id=str(uuid.uuid4()))
    )
    version = answer.version
    if version.state == ModelVersionState.MODEL_VERSION_STATE_UPLOADING and folder is not None:
        version = await _upload(connection, version, folder, progress)
    while version.state == ModelVersionState.MODEL_VERSION_STATE_IMPORTING:
        progress(version.stored_bytes, version.total_bytes)
        await asyncio.sleep(POLL_S)
        version = (await connection.models.GetModelVersion(GetModelVersionRequest(id=version.id))).version
    if version.state != ModelVersionState.MODEL_VERSION_STATE_READY:
        message = f"model version {version.id} is not ready: {version.message or 'its files are not all stored'}"
        raise ModelRefused(message, version=version.id)
    return version, answer.created


async def _upload(connection: Connection, version: ModelVersion, folder: Path, progress: Progress) -> ModelVersion:
    done, places = version.stored_bytes, asyncio.Semaphore(UPLOADS_AT_ONCE)

    async def upload(path: str) -> None:
        nonlocal done
        async with places:
            async for sent in _sent(connection, version.id, folder, path):
                done += sent
                progress(done, version.total_bytes)

    async with asyncio.TaskGroup() as uploads:
        for artifact in version.artifacts:
            if not artifact.stored:
                uploads.create_task(upload(artifact.path))
    request = CompleteModelVersionRequest(id=version.id, request_id=str(uuid.uuid4()))
    return (await connection.models.CompleteModelVersion(request)).version


async def _sent(connection: Connection, version: str, folder: Path, path: str) -> AsyncIterator[int]:
    """Upload one file and tell the size of every chunk on its way."""
    call = connection.models.UploadModelFile(timeout=UPLOAD_LIMIT_S)
    await call.write(UploadModelFileRequest(start=UploadModelFileStart(version=version, path=path)))
    with (folder / path).open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
            await call.write(UploadModelFileRequest(chunk=chunk))
            yield len(chunk)
    await call.done_writing()
    await call
