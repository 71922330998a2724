"""CollectionService: administration of collections."""

from dataclasses import dataclass

from tidemill.rag.v1 import collection_pb2
from tidemill.rag.v1 import collection_service_pb2 as pb
from tidemill.rag.v1.collection_service_pb2_grpc import CollectionServiceServicer
from tidemill_kit.grpc.server import current_caller, page_of, paths_of, request_of
from tidemill_rag.collections.crud import (
    CHANGEABLE,
    CreateCollection,
    DeleteCollection,
    ReadCollections,
    UpdateCollection,
    UpdateCommand,
)
from tidemill_rag.collections.domain import Collection
from tidemill_rag.collections.messages import collection_message, document_message, spec_of, version_of
from tidemill_rag.collections.rebuild_index import RebuildIndex


@dataclass(frozen=True, slots=True, kw_only=True)
class UseCases:
    """The use cases that the RPCs call."""

    create: CreateCollection
    read: ReadCollections
    update: UpdateCollection
    delete: DeleteCollection
    rebuild: RebuildIndex


class GrpcCollectionService(CollectionServiceServicer):
    """Message -> use case -> message; errors are translated by the server's interceptor."""

    def __init__(self, use_cases: UseCases) -> None:
        self._do = use_cases

    async def CreateCollection(
        self, request: pb.CreateCollectionRequest, _context: object
    ) -> pb.CreateCollectionResponse:
        """Create a collection."""
        collection = await self._do.create(
            current_caller(),
            spec_of(request.collection),
            request=request_of(request),
            validate_only=request.validate_only,
        )
        return pb.CreateCollectionResponse(collection=await self._shown(collection))

    async def GetCollection(self, request: pb.GetCollectionRequest, _context: object) -> pb.GetCollectionResponse:
        """Return one collection."""
        overview = await self._do.read.get(current_caller(), request.id)
        return pb.GetCollectionResponse(collection=collection_message(overview))

    async def ListCollections(self, request: pb.ListCollectionsRequest, _context: object) -> pb.ListCollectionsResponse:
        """Return a page of collections."""
        page = await self._do.read.list(current_caller(), page_of(request, filters={}))
        return pb.ListCollectionsResponse(
            collections=[collection_message(overview) for overview in page.items], next_page_token=page.next_token
        )

    async def UpdateCollection(
        self, request: pb.UpdateCollectionRequest, _context: object
    ) -> pb.UpdateCollectionResponse:
        """Change the fields that the mask names."""
        command = UpdateCommand(
            spec=spec_of(request.collection),
            fields=paths_of(request.update_mask, allowed=CHANGEABLE),
            version=version_of(request.collection.etag),
            request=request_of(request),
            validate_only=request.validate_only,
        )
        collection = await self._do.update(current_caller(), command)
        return pb.UpdateCollectionResponse(collection=await self._shown(collection))

    async def DeleteCollection(
        self, request: pb.DeleteCollectionRequest, _context: object
    ) -> pb.DeleteCollectionResponse:
        """Delete a collection."""
        collection = await self._do.delete(
            current_caller(),
            request.id,
            version=version_of(request.etag),
            request=request_of(request),
            validate_only=request.validate_only,
        )
        return pb.DeleteCollectionResponse(collection=await self._shown(collection))

    async def RebuildIndex(self, request: pb.RebuildIndexRequest, _context: object) -> pb.RebuildIndexResponse:
        """Start a new index version."""
        collection = await self._do.rebuild(
            current_caller(), request.id, request=request_of(request), validate_only=request.validate_only
        )
        return pb.RebuildIndexResponse(collection=await self._shown(collection))

    async def GetIndexedDocument(
        self, request: pb.GetIndexedDocumentRequest, _context: object
    ) -> pb.GetIndexedDocumentResponse:
        """Return the indexing status of a document."""
        standing = await self._do.read.document(current_caller(), request.collection, request.document)
        return pb.GetIndexedDocumentResponse(documents=[document_message(index, row) for index, row in standing])

    async def _shown(self, collection: Collection) -> collection_pb2.Collection:
        return collection_message(await self._do.read.overview(collection))
