"""CollectionService: administration of collections."""

from dataclasses import dataclass

from tidemill.rag.v1 import collection_pb2
from tidemill.rag.v1 import collection_service_pb2 as pb
from tidemill.rag.v1.collection_service_pb2_grpc import CollectionServiceServicer
from tidemill_kit.grpc.server import current_caller, page_of, paths_of, write_of
from tidemill_rag.collections.crud import CHANGEABLE, CollectionCrud
from tidemill_rag.collections.domain.collection import Collection
from tidemill_rag.collections.messages import collection_message, document_message, spec_of
from tidemill_rag.collections.promote_index import PromoteIndex
from tidemill_rag.collections.rebuild_index import RebuildIndex


@dataclass(frozen=True, kw_only=True)
class GrpcCollectionService(CollectionServiceServicer):
    """Message -> use case -> message; errors are translated by the server's interceptor."""

    crud: CollectionCrud
    rebuild: RebuildIndex
    promote: PromoteIndex

    async def CreateCollection(
        self, request: pb.CreateCollectionRequest, _context: object
    ) -> pb.CreateCollectionResponse:
        """Create a collection."""
        created = await self.crud.create(current_caller(), spec_of(request.collection), write_of(request))
        return pb.CreateCollectionResponse(collection=await self._shown(created))

    async def GetCollection(self, request: pb.GetCollectionRequest, _context: object) -> pb.GetCollectionResponse:
        """Return one collection."""
        overview = await self.crud.get(current_caller(), request.id)
        return pb.GetCollectionResponse(collection=collection_message(overview))

    async def ListCollections(self, request: pb.ListCollectionsRequest, _context: object) -> pb.ListCollectionsResponse:
        """Return a page of collections."""
        page = await self.crud.list(current_caller(), page_of(request, filters={}))
        return pb.ListCollectionsResponse(
            collections=[collection_message(overview) for overview in page.items], next_page_token=page.next_token
        )

    async def UpdateCollection(
        self, request: pb.UpdateCollectionRequest, _context: object
    ) -> pb.UpdateCollectionResponse:
        """Change the fields that the mask names."""
        paths = paths_of(request.update_mask, allowed=CHANGEABLE)
        write = write_of(request, etag=request.collection.etag)
        updated = await self.crud.update(current_caller(), spec_of(request.collection), paths, write)
        return pb.UpdateCollectionResponse(collection=await self._shown(updated))

    async def DeleteCollection(
        self, request: pb.DeleteCollectionRequest, _context: object
    ) -> pb.DeleteCollectionResponse:
        """Delete a collection."""
        deleted = await self.crud.delete(current_caller(), request.id, write_of(request))
        return pb.DeleteCollectionResponse(collection=await self._shown(deleted))

    async def RebuildIndex(self, request: pb.RebuildIndexRequest, _context: object) -> pb.RebuildIndexResponse:
        """Start a new index version."""
        rebuilt = await self.rebuild(current_caller(), request.id, write_of(request))
        return pb.RebuildIndexResponse(collection=await self._shown(rebuilt))

    async def PromoteIndex(self, request: pb.PromoteIndexRequest, _context: object) -> pb.PromoteIndexResponse:
        """Make an index version answer searches."""
        promoted = await self.promote(current_caller(), request.id, request.index, write_of(request))
        return pb.PromoteIndexResponse(collection=await self._shown(promoted))

    async def GetIndexedDocument(
        self, request: pb.GetIndexedDocumentRequest, _context: object
    ) -> pb.GetIndexedDocumentResponse:
        """Return the indexing status of a document."""
        standing = await self.crud.document(current_caller(), request.collection, request.document)
        return pb.GetIndexedDocumentResponse(documents=[document_message(index, row) for index, row in standing])

    async def _shown(self, collection: Collection) -> collection_pb2.Collection:
        return collection_message(await self.crud.overview(collection))
