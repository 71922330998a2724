"""trainer's registry in memory, for tests of what calls it.

`services/trainer/tests/contract/test_model_registry.py` holds it to the real one.
"""

import hashlib
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import grpc

from tidemill.trainer.v1 import model_pb2 as pb
from tidemill.trainer.v1 import model_registry_service_pb2 as rpc
from tidemill.trainer.v1.model_registry_service_pb2_grpc import ModelRegistryServiceServicer
from tidemill_core.errors import InvalidInput, NotFound, PreconditionFailed
from tidemill_core.models.manifest import ArtifactFile, ArtifactRefused, Manifest, refuse_unknown_json, refuse_what_runs
from tidemill_core.resources import check_slug
from tidemill_testkit.stubs.calls import errors_of, project_of, with_reason

Context = grpc.aio.ServicerContext[Any, Any]
BUCKET = "trainer-stub"


class StubModelRegistry(ModelRegistryServiceServicer):
    """Models of folders, of a hub that does not answer, and behind addresses. Runs in any grpc.aio server."""

    def __init__(self) -> None:
        self.versions: dict[tuple[str, str], pb.ModelVersion] = {}
        """By project and id; those of the project "" are seen by all."""
        self.contents: dict[str, bytes] = {}
        """What was uploaded, by path."""

    def add(self, version: pb.ModelVersion, *, project: str = "") -> pb.ModelVersion:
        """Add a version that is READY unless it says otherwise; its id is `model@number`."""
        added = pb.ModelVersion(state=pb.MODEL_VERSION_STATE_READY, project=project)
        added.MergeFrom(version)
        added.model, _, number = version.id.partition("@")
        added.number = int(number)
        self.versions[project, added.id] = added
        return added

    def inspect(self, path: str, content: bytes) -> None:
        """Refuse a file that may not be loaded.

        Raises:
            ArtifactRefused: says why.

        """
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            refuse_what_runs(Path(file.name), path)

    async def ImportModel(self, request: rpc.ImportModelRequest, context: Context) -> rpc.ImportModelResponse:
        """Return the version with this content, or add one."""
        async with errors_of(context):
            check_slug("model", request.model)
            project = project_of(context)
            key, fresh = _key(request.source), _begun(request)
            there = self._versions_of(project, request.model)
            for version in there:
                if _key(version.source) == key:
                    return rpc.ImportModelResponse(version=version, created=False)
            fresh.number = len(there) + 1
            fresh.id, fresh.project = f"{request.model}@{fresh.number}", project
            if not request.validate_only:
                self.versions[project, fresh.id] = fresh
        return rpc.ImportModelResponse(version=fresh, created=True)

    async def UploadModelFile(
        self, request_iterator: AsyncIterator[rpc.UploadModelFileRequest], context: Context
    ) -> rpc.UploadModelFileResponse:
        """Store a file that the version waits for."""
        async with errors_of(context):
            start = (await anext(aiter(request_iterator))).start
            content = b"".join([message.chunk async for message in request_iterator])
            version = self._version(project_of(context), start.version)
            artifact = _expected(version, start.path)
            if (len(content), hashlib.sha256(content).hexdigest()) != (artifact.size, artifact.sha256):
                message = f"{start.path}: is not what the manifest announced"
                raise with_reason(InvalidInput(message), reason="UPLOAD_REFUSED")
            try:
                self.inspect(start.path, content)
            except ArtifactRefused as refused:
                version.state, version.message = pb.MODEL_VERSION_STATE_FAILED, refused.message
                raise
            if not artifact.stored:
                version.stored_bytes += artifact.size
            key = f"{version.project}/{version.id}/{artifact.sha256}"
            artifact.stored, artifact.bucket, artifact.key = True, BUCKET, key
            self.contents[start.path] = content
        return rpc.UploadModelFileResponse(version=version)

    async def CompleteModelVersion(
        self, request: rpc.CompleteModelVersionRequest, context: Context
    ) -> rpc.CompleteModelVersionResponse:
        """Make a version READY whose files are all there."""
        async with errors_of(context):
            version = self._version(project_of(context), request.id)
            if version.state == pb.MODEL_VERSION_STATE_UPLOADING:
                if missing := [artifact.path for artifact in version.artifacts if not artifact.stored]:
                    message = f"{len(missing)} files of {version.id} are missing: {', '.join(missing)}"
                    raise with_reason(PreconditionFailed(message), reason="FILES_MISSING")
                version.state = pb.MODEL_VERSION_STATE_READY
        return rpc.CompleteModelVersionResponse(version=version)

    async def GetModelVersion(
        self, request: rpc.GetModelVersionRequest, context: Context
    ) -> rpc.GetModelVersionResponse:
        """Return `model@number`, or the newest ready version of `model`."""
        async with errors_of(context):
            version = self._version(project_of(context), request.id)
        return rpc.GetModelVersionResponse(version=version)

    async def ListModels(self, _request: rpc.ListModelsRequest, context: Context) -> rpc.ListModelsResponse:
        """Return all models, on one page."""
        project = project_of(context)
        names = {each.model: None for (owner, _), each in self.versions.items() if owner in {"", project}}
        return rpc.ListModelsResponse(models=[_model(name, self._versions_of(project, name)) for name in names])

    def _versions_of(self, project: str, model: str) -> Sequence[pb.ModelVersion]:
        return [each for (owner, _), each in self.versions.items() if owner in {"", project} and each.model == model]

    def _version(self, project: str, reference: str) -> pb.ModelVersion:
        model, at, number = reference.partition("@")
        if at and not (number.isascii() and number.isdigit() and not number.startswith("0")):
            raise InvalidInput.at(field="id", text=f"{reference!r} is not `model` or `model@number`")
        there = self._versions_of(project, model)
        if not there:
            message = f"model {model} does not exist in this project"
            raise with_reason(NotFound(message, model=model), reason="MODEL_NOT_FOUND")
        found = [each for each in there if (each.id == reference if at else _is_ready(each))]
        if not found:
            message = f"version {reference} does not exist or is not ready"
            raise with_reason(NotFound(message, version=reference), reason="MODEL_VERSION_NOT_FOUND")
        return max(found, key=lambda each: each.number)


def _begun(request: rpc.ImportModelRequest) -> pb.ModelVersion:
    """Return a new version: READY for a remote model, else waiting for its files."""
    version = pb.ModelVersion(model=request.model, source=request.source, labels=request.labels)
    match request.source.WhichOneof("kind"):
        case "folder":
            manifest = Manifest(
                [ArtifactFile(each.path, each.size, each.sha256) for each in request.source.folder.files]
            )
            for file in manifest.files:
                refuse_unknown_json(file.path)
                version.artifacts.add(path=file.path, size=file.size, sha256=file.sha256)
            version.state = pb.MODEL_VERSION_STATE_UPLOADING
            version.digest, version.total_bytes = manifest.digest, manifest.total_bytes
        case "hugging_face":
            version.source.hugging_face.revision = request.source.hugging_face.revision or "main"
            version.state, version.message = pb.MODEL_VERSION_STATE_IMPORTING, "waits for hugging_face: no answer"
        case "openai":
            version.state, version.digest = pb.MODEL_VERSION_STATE_READY, _key(request.source)
        case _:
            raise InvalidInput.at(field="source", text="must be folder, hugging_face or openai")
    return version


def _key(source: pb.ModelSource) -> str:
    """Return what the same content has in common."""
    match source.WhichOneof("kind"):
        case "folder":
            parts = sorted(f"{each.path} {each.size} {each.sha256}" for each in source.folder.files)
        case "openai":
            parts = [source.openai.model, source.openai.base_url.rstrip("/")]
        case "hugging_face":
            parts = [source.hugging_face.repository, source.hugging_face.revision or "main"]
        case _:
            parts = [source.trained.run]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _expected(version: pb.ModelVersion, path: str) -> pb.Artifact:
    if not version.source.HasField("folder") or version.state == pb.MODEL_VERSION_STATE_FAILED:
        message = f"version {version.id} accepts no files: {version.message}"
        raise with_reason(PreconditionFailed(message), reason="VERSION_NOT_UPLOADING")
    for artifact in version.artifacts:
        if artifact.path == path:
            return artifact
    message = f"the manifest of {version.id} has no file {path}"
    raise with_reason(NotFound(message, path=path), reason="FILE_NOT_EXPECTED")


def _model(name: str, versions: Sequence[pb.ModelVersion]) -> pb.Model:
    latest = max((each.number for each in versions if _is_ready(each)), default=0)
    return pb.Model(id=name, latest_version=latest, version_count=max(each.number for each in versions))


def _is_ready(version: pb.ModelVersion) -> bool:
    return version.state == pb.MODEL_VERSION_STATE_READY
