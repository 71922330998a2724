"""Stored forms and events of models and versions, and the imports that wait."""

from dataclasses import asdict

from google.protobuf.message import Message

from tidemill.trainer.v1 import events_pb2 as events
from tidemill_core.aggregate import Event, ObjectRef
from tidemill_core.application import ResourceKey
from tidemill_core.models.manifest import ArtifactFile, Manifest
from tidemill_kit.store.aggregates import Identity
from tidemill_kit.store.mongo import Collection, Document
from tidemill_kit.workers.pending import PendingDocuments
from tidemill_trainer.registry.domain.base_facts import FileFacts
from tidemill_trainer.registry.domain.model import Model, ModelWasDeleted
from tidemill_trainer.registry.domain.model_version import (
    Artifact,
    ModelVersion,
    ModelVersionHasFailed,
    ModelVersionWasRegistered,
    VersionState,
)
from tidemill_trainer.registry.domain.sources import (
    FolderSource,
    HuggingFaceSource,
    OpenAiSource,
    Source,
    TrainedSource,
)


class ModelVersionCodec:
    """ModelVersion <-> document, and its events -> messages. A folder's manifest is stored once, as its artifacts."""

    schema = 1

    def encode(self, aggregate: ModelVersion) -> Document:
        """Return the state."""
        return {
            "model": aggregate.model,
            "number": aggregate.number,
            "state": aggregate.state.value,
            "source": _encoded_source(aggregate.source),
            "begun_by": aggregate.begun_by,
            "artifacts": [
                {
                    "path": artifact.file.path,
                    "size": artifact.file.size,
                    "sha256": artifact.file.sha256,
                    "object": asdict(artifact.object) if artifact.object else None,
                    "facts": _encoded_facts(artifact.facts),
                }
                for artifact in aggregate.artifacts
            ],
            "digest": aggregate.digest,
            "expected_bytes": aggregate.expected_bytes,
            "message": aggregate.message,
            "epoch": aggregate.epoch,
        }

    def decode(self, identity: Identity, state: Document, schema: int) -> ModelVersion:  # noqa: ARG002 - there is one schema
        """Return the version."""
        artifacts = tuple(
            Artifact(
                file=ArtifactFile(path=entry["path"], size=entry["size"], sha256=entry["sha256"]),
                object=ObjectRef(**entry["object"]) if entry["object"] else None,
                facts=_decoded_facts(entry.get("facts")),
            )
            for entry in state["artifacts"]
        )
        return ModelVersion(
            **identity.fields(),
            model=state["model"],
            number=state["number"],
            state=VersionState(state["state"]),
            source=_decoded_source(state["source"], artifacts),
            begun_by=state["begun_by"],
            artifacts=artifacts,
            digest=state["digest"],
            expected_bytes=state["expected_bytes"],
            message=state["message"],
            epoch=state["epoch"],
        )

    def event(self, aggregate: ModelVersion, event: Event, seq: int) -> tuple[str, Message]:
        """Return the ce_type and the payload."""
        match event:
            case ModelVersionWasRegistered():
                return "tidemill.trainer.model.version_registered.v1", events.ModelVersionRegistered(
                    version=aggregate.id,
                    seq=seq,
                    model=event.model,
                    digest=event.digest,
                    total_bytes=event.total_bytes,
                    run=event.trained.run if event.trained else "",
                    base=event.trained.base if event.trained else "",
                    dataset_version=event.trained.dataset_version if event.trained else "",
                )
            case ModelVersionHasFailed():
                return "tidemill.trainer.model.version_failed.v1", events.ModelVersionFailed(
                    version=aggregate.id, seq=seq, model=event.model, reason=event.reason, message=event.message
                )
            case _:
                raise TypeError(event)


def _encoded_facts(facts: FileFacts | None) -> Document | None:
    return asdict(facts) | {"modules": list(facts.modules)} if facts else None


def _decoded_facts(document: Document | None) -> FileFacts | None:
    return FileFacts(**document | {"modules": tuple(document["modules"])}) if document else None


def _encoded_source(source: Source) -> Document:
    match source:
        case FolderSource():
            return {"kind": "folder"}
        case HuggingFaceSource():
            return {"kind": "hugging_face"} | asdict(source)
        case OpenAiSource():
            return {"kind": "openai"} | asdict(source)
        case TrainedSource():
            return {"kind": "trained"} | asdict(source)


def _decoded_source(document: Document, artifacts: tuple[Artifact, ...]) -> Source:
    fields = {name: value for name, value in document.items() if name != "kind"}
    match document["kind"]:
        case "folder":
            return FolderSource(manifest=Manifest(files=tuple(artifact.file for artifact in artifacts)))
        case "hugging_face":
            return HuggingFaceSource(**fields)
        case "openai":
            return OpenAiSource(**fields)
        case "trained":
            return TrainedSource(**fields)
        case unknown:
            message = f"stored version with unknown source {unknown}"
            raise ValueError(message)


class ModelCodec:
    """Model <-> document, and its events -> messages."""

    schema = 1

    def encode(self, aggregate: Model) -> Document:
        """Return the state."""
        return {
            "version_count": aggregate.version_count,
            "first_number": aggregate.first_number,
            "numbers": [{"key": key, "number": number} for key, number in sorted(aggregate.numbers.items())],
        }

    def decode(self, identity: Identity, state: Document, schema: int) -> Model:  # noqa: ARG002 - there is one schema
        """Return the model."""
        return Model(
            **identity.fields(),
            version_count=state["version_count"],
            first_number=state["first_number"],
            numbers={entry["key"]: entry["number"] for entry in state["numbers"]},
        )

    def event(self, aggregate: Model, event: Event, seq: int) -> tuple[str, Message]:
        """Return the ce_type and the payload."""
        if not isinstance(event, ModelWasDeleted):
            raise TypeError(event)
        return "tidemill.trainer.model.deleted.v1", events.ModelDeleted(model=aggregate.id, seq=seq)


def pending_imports(versions: Collection) -> PendingDocuments[ResourceKey]:
    """Find the versions that wait for their import."""
    where = {"state.state": VersionState.IMPORTING.value, "deleted": False}
    return PendingDocuments(
        versions, where, index="state.state", key=lambda project, version: ResourceKey(project=project, id=version)
    )
