"""Declared resources: sources, collections, prompts and deployments."""

from collections.abc import AsyncIterator

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


class Sources:
    """The sources of a project."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def create(self, source: Source) -> Source:
        """Create a source with the id in the message."""
        return (await self._connection.sources.CreateSource(sources.CreateSourceRequest(source=source))).source

    async def get(self, source: str) -> Source:
        """Return a source."""
        return (await self._connection.sources.GetSource(sources.GetSourceRequest(id=source))).source

    def all(self) -> AsyncIterator[Source]:
        """Yield the sources, oldest first."""
        return each(self._connection.sources.ListSources, sources.ListSourcesRequest(), lambda page: page.sources)

    async def update(self, source: Source, *fields: str) -> Source:
        """Update the named fields; a set etag makes the update conditional."""
        mask = FieldMask(paths=fields)
        return (
            await self._connection.sources.UpdateSource(sources.UpdateSourceRequest(source=source, update_mask=mask))
        ).source

    async def delete(self, source: str, *, etag: str = "") -> Source:
        """Delete a source. Its documents are kept."""
        return (await self._connection.sources.DeleteSource(sources.DeleteSourceRequest(id=source, etag=etag))).source


class Collections:
    """The collections of a project."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def create(self, collection: Collection) -> Collection:
        """Create a collection with the id in the message; existing documents of its sources are indexed."""
        request = collections.CreateCollectionRequest(collection=collection)
        return (await self._connection.collections.CreateCollection(request)).collection

    async def get(self, collection: str) -> Collection:
        """Return a collection with its index versions."""
        return (
            await self._connection.collections.GetCollection(collections.GetCollectionRequest(id=collection))
        ).collection

    def all(self) -> AsyncIterator[Collection]:
        """Yield the collections, oldest first."""
        return each(
            self._connection.collections.ListCollections,
            collections.ListCollectionsRequest(),
            lambda page: page.collections,
        )

    async def update(self, collection: Collection, *fields: str) -> Collection:
        """Update the named fields; a change of sources, embedding or chunking starts a new index version."""
        request = collections.UpdateCollectionRequest(collection=collection, update_mask=FieldMask(paths=fields))
        return (await self._connection.collections.UpdateCollection(request)).collection

    async def delete(self, collection: str, *, etag: str = "") -> Collection:
        """Delete a collection. The documents are kept."""
        request = collections.DeleteCollectionRequest(id=collection, etag=etag)
        return (await self._connection.collections.DeleteCollection(request)).collection

    async def rebuild(self, collection: str) -> Collection:
        """Start a new index version, which replaces the live one when it is complete."""
        return (
            await self._connection.collections.RebuildIndex(collections.RebuildIndexRequest(id=collection))
        ).collection

    async def standing(self, collection: str, document: str) -> list[collections.IndexedDocument]:
        """Return a document's status in each index version; it is up to date where both `seq` are equal."""
        request = collections.GetIndexedDocumentRequest(collection=collection, document=document)
        return list((await self._connection.collections.GetIndexedDocument(request)).documents)


class Prompts:
    """The prompts of a project; changed content becomes a new version."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def create(self, prompt: Prompt) -> Prompt:
        """Create a prompt with the id in the message."""
        return (await self._connection.prompts.CreatePrompt(prompts.CreatePromptRequest(prompt=prompt))).prompt

    async def get(self, prompt: str) -> Prompt:
        """Return a prompt with all its versions."""
        return (await self._connection.prompts.GetPrompt(prompts.GetPromptRequest(id=prompt))).prompt

    def all(self) -> AsyncIterator[Prompt]:
        """Yield the prompts, oldest first."""
        return each(self._connection.prompts.ListPrompts, prompts.ListPromptsRequest(), lambda page: page.prompts)

    async def update(self, prompt: Prompt, *fields: str) -> Prompt:
        """Update the named fields; unchanged content does not create a version."""
        request = prompts.UpdatePromptRequest(prompt=prompt, update_mask=FieldMask(paths=fields))
        return (await self._connection.prompts.UpdatePrompt(request)).prompt

    async def label(self, prompt: str, label: str, *, version: int) -> Prompt:
        """Point a label, for example "production", to a version."""
        request = prompts.LabelPromptRequest(id=prompt, label=label, version=version)
        return (await self._connection.prompts.LabelPrompt(request)).prompt

    async def delete(self, prompt: str, *, etag: str = "") -> Prompt:
        """Delete a prompt that no deployment uses."""
        return (await self._connection.prompts.DeletePrompt(prompts.DeletePromptRequest(id=prompt, etag=etag))).prompt


class Deployments:
    """The deployments of a project."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def create(self, deployment: Deployment) -> Deployment:
        """Create a deployment with the id in the message."""
        request = deployments.CreateDeploymentRequest(deployment=deployment)
        return (await self._connection.deployments.CreateDeployment(request)).deployment

    async def get(self, deployment: str) -> Deployment:
        """Return a deployment with its live configuration."""
        return (
            await self._connection.deployments.GetDeployment(deployments.GetDeploymentRequest(id=deployment))
        ).deployment

    def all(self) -> AsyncIterator[Deployment]:
        """Yield the deployments, oldest first."""
        return each(
            self._connection.deployments.ListDeployments,
            deployments.ListDeploymentsRequest(),
            lambda page: page.deployments,
        )

    async def update(self, deployment: Deployment, *fields: str) -> Deployment:
        """Update the named fields; the next request uses the new configuration."""
        request = deployments.UpdateDeploymentRequest(deployment=deployment, update_mask=FieldMask(paths=fields))
        return (await self._connection.deployments.UpdateDeployment(request)).deployment

    async def delete(self, deployment: str, *, etag: str = "") -> Deployment:
        """Delete a deployment. Its inferences are kept."""
        request = deployments.DeleteDeploymentRequest(id=deployment, etag=etag)
        return (await self._connection.deployments.DeleteDeployment(request)).deployment
