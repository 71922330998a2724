"""Declared resources: sources, collections, prompts and deployments."""

from collections.abc import AsyncIterator
from types import ModuleType
from typing import Any, Generic, TypeVar

from google.protobuf.field_mask_pb2 import FieldMask

from tidemill.inference.v1 import deployment_service_pb2 as deployments
from tidemill.inference.v1 import prompt_service_pb2 as prompts
from tidemill.inference.v1.deployment_pb2 import Deployment
from tidemill.inference.v1.prompt_pb2 import Prompt
from tidemill.ingest.v1 import source_service_pb2 as sources
from tidemill.ingest.v1.source_pb2 import Source
from tidemill.rag.v1 import collection_service_pb2 as collections
from tidemill.rag.v1.collection_pb2 import Collection
from tidemill_client.connection import Connection
from tidemill_client.pages import each

R = TypeVar("R", Source, Collection, Prompt, Deployment)


class Declared(Generic[R]):
    """The resources of one kind in a project."""

    _noun: str
    _contract: ModuleType

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._field = self._noun.lower()

    @property
    def _stub(self) -> Any:  # noqa: ANN401 - one of four
        return getattr(self._connection, f"{self._field}s")

    async def create(self, resource: R) -> R:
        """Create a resource with the id in the message."""
        return await self._call("Create", **{self._field: resource})

    async def get(self, name: str) -> R:
        """Return a resource."""
        return await self._call("Get", id=name)

    def all(self) -> AsyncIterator[R]:
        """Yield the resources, oldest first."""
        request = getattr(self._contract, f"List{self._noun}sRequest")()
        return each(getattr(self._stub, f"List{self._noun}s"), request, lambda page: getattr(page, f"{self._field}s"))

    async def update(self, resource: R, *fields: str) -> R:
        """Update the named fields; a set etag makes the update conditional."""
        return await self._call("Update", **{self._field: resource}, update_mask=FieldMask(paths=fields))

    async def delete(self, name: str, *, etag: str = "") -> R:
        """Delete a resource; a set etag makes the deletion conditional."""
        return await self._call("Delete", id=name, etag=etag)

    async def _call(self, verb: str, **fields: object) -> R:
        rpc = f"{verb}{self._noun}"
        reply = await getattr(self._stub, rpc)(getattr(self._contract, f"{rpc}Request")(**fields))
        changed: R = getattr(reply, self._field)
        return changed


class Sources(Declared[Source]):
    """The sources of a project. The documents of a deleted one are kept."""

    _noun = "Source"
    _contract = sources


class Collections(Declared[Collection]):
    """The collections of a project; a change of sources, embedding or chunking starts a new index version."""

    _noun = "Collection"
    _contract = collections

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

    _noun = "Prompt"
    _contract = prompts

    async def label(self, prompt: str, label: str, *, version: int) -> Prompt:
        """Point a label, for example "production", to a version."""
        request = prompts.LabelPromptRequest(id=prompt, label=label, version=version)
        return (await self._connection.prompts.LabelPrompt(request)).prompt


class Deployments(Declared[Deployment]):
    """The deployments of a project; the next request uses an updated one. Inferences of a deleted one are kept."""

    _noun = "Deployment"
    _contract = deployments
