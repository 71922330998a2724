"""Mapping between messages and the domain."""

from tidemill.trainer.v1 import model_pb2 as pb
from tidemill_core.errors import InvalidInput, Violation
from tidemill_core.models.manifest import ArtifactFile, Manifest
from tidemill_kit.grpc.server import etag_of, timestamp_of
from tidemill_trainer.registry.crud import ModelOverview
from tidemill_trainer.registry.domain.model_version import Artifact, ModelVersion, VersionState
from tidemill_trainer.registry.domain.sources import (
    FolderSource,
    HuggingFaceSource,
    OpenAiSource,
    Source,
    TrainedSource,
)

STATES = {
    VersionState.UPLOADING: pb.MODEL_VERSION_STATE_UPLOADING,
    VersionState.IMPORTING: pb.MODEL_VERSION_STATE_IMPORTING,
    VersionState.READY: pb.MODEL_VERSION_STATE_READY,
    VersionState.FAILED: pb.MODEL_VERSION_STATE_FAILED,
}


def source_of(message: pb.ModelSource) -> Source:
    """Return the source of a request.

    Raises:
        InvalidInput: it is no source, or one that could never be imported.
        ArtifactRefused: names a file that may not be part of a model.

    """
    match message.WhichOneof("kind"):
        case "folder":
            files = [ArtifactFile(path=file.path, size=file.size, sha256=file.sha256) for file in message.folder.files]
            return FolderSource(manifest=Manifest(files=tuple(files)))
        case "hugging_face":
            hub = message.hugging_face
            return HuggingFaceSource(repository=hub.repository, revision=hub.revision or "main")
        case "openai":
            remote = message.openai
            return OpenAiSource(model=remote.model, base_url=remote.base_url, api_key_secret=remote.api_key_secret)
        case "trained":
            text = "is registered by training runs only: create a training plan"
            raise InvalidInput.of(Violation(field="source.trained", description=text))
        case None:
            raise InvalidInput.of(Violation(field="source", description="must be folder, hugging_face or openai"))


def model_message(overview: ModelOverview) -> pb.Model:
    """Return the model message."""
    model = overview.model
    return pb.Model(
        id=model.id,
        project=model.project,
        seq=model.seq,
        etag=etag_of(model.version),
        labels=model.labels,
        create_time=timestamp_of(model.create_time),
        update_time=timestamp_of(model.update_time),
        latest_version=overview.latest_version,
        version_count=model.version_count,
    )


def version_message(version: ModelVersion) -> pb.ModelVersion:
    """Return the version message."""
    return pb.ModelVersion(
        id=version.id,
        project=version.project,
        seq=version.seq,
        etag=etag_of(version.version),
        labels=version.labels,
        create_time=timestamp_of(version.create_time),
        update_time=timestamp_of(version.update_time),
        model=version.model,
        number=version.number,
        state=STATES[version.state],
        source=_source_message(version.source),
        artifacts=[_artifact_message(artifact) for artifact in version.artifacts],
        digest=version.digest,
        total_bytes=version.expected_bytes,
        stored_bytes=version.stored_bytes,
        message=version.message,
    )


def _source_message(source: Source) -> pb.ModelSource:
    match source:
        case FolderSource(manifest=manifest):
            files = [pb.ManifestFile(path=file.path, size=file.size, sha256=file.sha256) for file in manifest.files]
            return pb.ModelSource(folder=pb.FolderSource(files=files))
        case HuggingFaceSource():
            return pb.ModelSource(
                hugging_face=pb.HuggingFaceSource(
                    repository=source.repository, revision=source.commit or source.revision
                )
            )
        case TrainedSource():
            return pb.ModelSource(
                trained=pb.TrainedSource(run=source.run, base=source.base, dataset_version=source.dataset_version)
            )
        case OpenAiSource():
            return pb.ModelSource(
                openai=pb.OpenAiSource(
                    model=source.model, base_url=source.base_url, api_key_secret=source.api_key_secret
                )
            )


def _artifact_message(artifact: Artifact) -> pb.Artifact:
    stored = artifact.object
    return pb.Artifact(
        path=artifact.file.path,
        size=artifact.file.size,
        sha256=artifact.file.sha256,
        bucket=stored.bucket if stored else "",
        key=stored.key if stored else "",
        stored=stored is not None,
    )
