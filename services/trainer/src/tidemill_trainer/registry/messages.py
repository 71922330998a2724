"""Mapping between messages of the contract and models and versions."""

from google.protobuf.message import Message

from tidemill.trainer.v1 import events_pb2 as events
from tidemill.trainer.v1 import model_pb2 as pb
from tidemill_core.aggregate import Event
from tidemill_core.approvals import OPERATOR, ApprovalPolicy
from tidemill_core.errors import InvalidInput
from tidemill_core.models.manifest import Manifest
from tidemill_kit.mapping import from_message, to_message
from tidemill_trainer.registry.domain.approvals import NOTHING_MISSING, Missing
from tidemill_trainer.registry.domain.model import Model, ModelWasDeleted
from tidemill_trainer.registry.domain.model_version import (
    Artifact,
    ModelVersion,
    ModelVersionHasFailed,
    ModelVersionWasRegistered,
)
from tidemill_trainer.registry.domain.sources import (
    DerivedSource,
    FolderSource,
    HuggingFaceSource,
    OpenAiSource,
    Source,
    TrainedSource,
)


def source_of(message: pb.ModelSource) -> Source:
    """Return the source of a request.

    Raises:
        InvalidInput: it is no source, or one that could never be imported.
        ArtifactRefused: names a file that may not be part of a model.

    """
    match message.WhichOneof("kind"):
        case "folder":
            return FolderSource(manifest=from_message(Manifest, message.folder))
        case "hugging_face":
            hub = message.hugging_face
            return from_message(HuggingFaceSource, hub, revision=hub.revision or "main")
        case "openai":
            return from_message(OpenAiSource, message.openai)
        case "trained":
            text = "is registered by training runs only: create a training plan"
            raise InvalidInput.at(field="source.trained", text=text)
        case "derived":
            text = "is registered by derivations only: create a derivation"
            raise InvalidInput.at(field="source.derived", text=text)
        case None:
            raise InvalidInput.at(field="source", text="must be folder, hugging_face or openai")


def version_message(version: ModelVersion, missing: Missing = NOTHING_MISSING) -> pb.ModelVersion:
    """Return the version message, with the approvals that it lacks."""
    return to_message(
        pb.ModelVersion,
        version,
        source=_source_message(version.source),
        artifacts=[_artifact_message(artifact) for artifact in version.artifacts],
        total_bytes=version.expected_bytes,
        missing_approvals=missing.count,
        approver_role=missing.role,
    )


def approval_of_message(message: pb.ModelApprovalPolicy) -> ApprovalPolicy:
    """Return an approval policy, with the role operator where it names none."""
    return from_message(ApprovalPolicy, message, role=message.role or OPERATOR)


def model_event(model: Model, event: Event, seq: int) -> tuple[str, Message]:
    """Return the ce_type and the payload."""
    if not isinstance(event, ModelWasDeleted):
        raise TypeError(event)
    return "tidemill.trainer.model.deleted.v1", events.ModelDeleted(model=model.id, seq=seq)


def version_event(version: ModelVersion, event: Event, seq: int) -> tuple[str, Message]:
    """Return the ce_type and the payload."""
    match event:
        case ModelVersionWasRegistered():
            trained = event.trained or TrainedSource(run="", base="", dataset_version="")
            derived = event.derived or DerivedSource(derivation="", source_version="", method="")
            return "tidemill.trainer.model.version_registered.v1", to_message(
                events.ModelVersionRegistered,
                event,
                run=trained.run,
                base=trained.base,
                dataset_version=trained.dataset_version or derived.dataset_version,
                derived_from=derived.source_version,
                derivation=derived.derivation,
                finetuned_from=trained.finetuned_from,
                version=version.id,
                seq=seq,
            )
        case ModelVersionHasFailed():
            return "tidemill.trainer.model.version_failed.v1", to_message(
                events.ModelVersionFailed, event, version=version.id, seq=seq
            )
        case _:
            raise TypeError(event)


def _source_message(source: Source) -> pb.ModelSource:
    match source:
        case FolderSource():
            return pb.ModelSource(folder=to_message(pb.FolderSource, source.manifest))
        case HuggingFaceSource():
            revision = source.commit or source.revision
            return pb.ModelSource(hugging_face=to_message(pb.HuggingFaceSource, source, revision=revision))
        case TrainedSource():
            return pb.ModelSource(trained=to_message(pb.TrainedSource, source))
        case DerivedSource():
            return pb.ModelSource(derived=to_message(pb.DerivedSource, source))
        case OpenAiSource():
            return pb.ModelSource(openai=to_message(pb.OpenAiSource, source))


def _artifact_message(artifact: Artifact) -> pb.Artifact:
    stored = artifact.object
    return to_message(
        pb.Artifact,
        artifact.file,
        bucket=stored and stored.bucket,
        key=stored and stored.key,
        stored=stored is not None,
    )
