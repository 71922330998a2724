"""Stored forms of models and versions, and the imports that wait."""

from tidemill_kit.mapping import DocumentCodec, Form, Tagged, as_entries
from tidemill_kit.store.aggregates import Identity
from tidemill_kit.store.mongo import Collection, Document
from tidemill_kit.workers.pending import PendingDocuments
from tidemill_trainer.registry.domain.model import Model
from tidemill_trainer.registry.domain.model_version import ModelVersion, VersionState
from tidemill_trainer.registry.domain.sources import (
    DerivedSource,
    FolderSource,
    HuggingFaceSource,
    OpenAiSource,
    Source,
    TrainedSource,
)
from tidemill_trainer.registry.messages import model_event, version_event

SOURCES = {
    "folder": FolderSource,
    "hugging_face": HuggingFaceSource,
    "openai": OpenAiSource,
    "trained": TrainedSource,
    "derived": DerivedSource,
}


def _written(_version: ModelVersion, state: Document) -> Document:
    """Return the state with the files' fields beside those of the artifacts, and a folder's files only there."""
    artifacts = [entry.pop("file") | entry for entry in state["artifacts"]]
    source = {name: value for name, value in state["source"].items() if name != "manifest"}
    return state | {"artifacts": artifacts, "source": source}


def _read(state: Document, _identity: Identity, _schema: int) -> Document:
    files = state["artifacts"]
    artifacts = [entry | {"file": entry} for entry in files]
    return state | {"artifacts": artifacts, "source": state["source"] | {"manifest": {"files": files}}}


MODELS = DocumentCodec(Model, {Model: Form(fields={"numbers": as_entries("key", "number")})}, event=model_event)
VERSIONS = DocumentCodec(
    ModelVersion,
    event=version_event,
    unions={Source: Tagged(tag="kind", classes=SOURCES)},
    on_write=_written,
    on_read=_read,
)


def pending_imports(versions: Collection) -> PendingDocuments:
    """Find the versions that wait for their import."""
    return PendingDocuments(
        versions,
        {"state.state": VersionState.IMPORTING.value, "deleted": False},
        index="state.state",
    )
