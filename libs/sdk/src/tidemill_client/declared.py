"""Declared resources: sources, collections, prompts, deployments, and the others that a loop has."""

from collections.abc import AsyncIterator
from types import ModuleType
from typing import Any, Generic, TypeVar

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from tidemill.evaluator.v1 import evaluation_service_pb2 as evaluations
from tidemill.evaluator.v1 import suite_service_pb2 as suites
from tidemill.evaluator.v1.evaluation_pb2 import Gate
from tidemill.evaluator.v1.suite_pb2 import Suite
from tidemill.feedback.v1 import curation_service_pb2 as curations
from tidemill.feedback.v1.curation_pb2 import Curation
from tidemill.inference.v1 import deployment_service_pb2 as deployments
from tidemill.inference.v1 import prompt_service_pb2 as prompts
from tidemill.inference.v1.deployment_pb2 import Deployment
from tidemill.inference.v1.prompt_pb2 import Prompt
from tidemill.ingest.v1 import dataset_service_pb2 as datasets
from tidemill.ingest.v1 import source_service_pb2 as sources
from tidemill.ingest.v1.dataset_pb2 import Dataset
from tidemill.ingest.v1.source_pb2 import Source
from tidemill.rag.v1 import collection_service_pb2 as collections
from tidemill.rag.v1.collection_pb2 import Collection
from tidemill.trainer.v1 import training_service_pb2 as training
from tidemill.trainer.v1.training_pb2 import TrainingPlan
from tidemill_client.connection import Connection
from tidemill_client.pages import each
from tidemill_core.errors import NotFound

R = TypeVar("R", bound=Message)


class Declared(Generic[R]):
    """The resources of one kind in a project."""

    contract: ModuleType
    """The module of its requests."""
    stub: str
    """The attribute of `Connection`."""
    noun: str
    """As in `Get<noun>`."""
    field: str
    """As in `GetResponse.<field>`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def create(self, resource: R, *, validate_only: bool = False) -> R:
        """Create a resource with the id in the message, or with `validate_only` return a preview."""
        return await self._call("Create", **{self.field: resource}, validate_only=validate_only)

    async def get(self, name: str) -> R:
        """Return a resource."""
        return await self._call("Get", id=name)

    async def find(self, name: str) -> R | None:
        """Return a resource, or None."""
        try:
            return await self.get(name)
        except NotFound:
            return None

    def all(self) -> AsyncIterator[R]:
        """Yield the resources, oldest first."""
        request = getattr(self.contract, f"List{self.noun}sRequest")()
        return each(self._rpc(f"List{self.noun}s"), request, lambda page: getattr(page, f"{self.field}s"))

    async def update(self, resource: R, *fields: str, validate_only: bool = False) -> R:
        """Update the named fields; a set etag makes the update conditional."""
        requested = {self.field: resource, "update_mask": FieldMask(paths=fields)}
        return await self._call("Update", **requested, validate_only=validate_only)

    async def delete(self, name: str, *, etag: str = "") -> R:
        """Delete a resource; a set etag makes the deletion conditional."""
        return await self._call("Delete", id=name, etag=etag)

    async def _call(self, verb: str, **fields: object) -> R:
        name = f"{verb}{self.noun}"
        reply = await self._rpc(name)(getattr(self.contract, f"{name}Request")(**fields))
        changed: R = getattr(reply, self.field)
        return changed

    def _rpc(self, name: str) -> Any:  # noqa: ANN401 - generated stubs have no type in common
        return getattr(getattr(self._connection, self.stub), name)


class Sources(Declared[Source]):
    """The sources of a project. The documents of a deleted one are kept."""

    contract, stub, noun, field = sources, "sources", "Source", "source"


class Collections(Declared[Collection]):
    """The collections of a project; a change of sources, embedding or chunking starts a new index version."""

    contract, stub, noun, field = collections, "collections", "Collection", "collection"

    async def rebuild(self, collection: str) -> Collection:
        """Start a new index version, which replaces the live one when it is complete."""
        request = collections.RebuildIndexRequest(id=collection)
        return (await self._connection.collections.RebuildIndex(request)).collection

    async def standing(self, collection: str, document: str) -> list[collections.IndexedDocument]:
        """Return a document's status in each index version; it is up to date where both `seq` are equal."""
        request = collections.GetIndexedDocumentRequest(collection=collection, document=document)
        return list((await self._connection.collections.GetIndexedDocument(request)).documents)


class Prompts(Declared[Prompt]):
    """The prompts of a project; changed content becomes a new version. A prompt in use cannot be deleted."""

    contract, stub, noun, field = prompts, "prompts", "Prompt", "prompt"

    async def label(self, prompt: str, label: str, *, version: int) -> Prompt:
        """Point a label, for example "production", to a version."""
        request = prompts.LabelPromptRequest(id=prompt, label=label, version=version)
        return (await self._connection.prompts.LabelPrompt(request)).prompt


class Deployments(Declared[Deployment]):
    """The deployments of a project; the next request uses an updated one. Inferences of a deleted one are kept."""

    contract, stub, noun, field = deployments, "deployments", "Deployment", "deployment"


class DeclaredDatasets(Declared[Dataset]):
    """The declarations of datasets; their versions are in `Datasets`."""

    contract, stub, noun, field = datasets, "datasets", "Dataset", "dataset"


class Curations(Declared[Curation]):
    """The curations of a project."""

    contract, stub, noun, field = curations, "curations", "Curation", "curation"


class TrainingPlans(Declared[TrainingPlan]):
    """The training plans of a project; their runs are in `Training`."""

    contract, stub, noun, field = training, "training", "TrainingPlan", "plan"


class Suites(Declared[Suite]):
    """The suites of a project; only Get returns their cases."""

    contract, stub, noun, field = suites, "suites", "Suite", "suite"


class Gates(Declared[Gate]):
    """The gates of a project; their evaluations are in `Evaluations`."""

    contract, stub, noun, field = evaluations, "evaluations", "Gate", "gate"
