"""Client of rag, which searches."""

import json
from collections.abc import Sequence

import grpc
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError

from tidemill.rag.v1 import collection_pb2, collection_service_pb2, retrieval_service_pb2
from tidemill.rag.v1.collection_service_pb2_grpc import CollectionServiceStub
from tidemill.rag.v1.retrieval_service_pb2_grpc import RetrievalServiceStub
from tidemill_core.application import Caller
from tidemill_core.errors import InvalidInput, NotFound
from tidemill_core.grpc.context import acting_as
from tidemill_evaluator.retrieval_evaluations.ports import SearchedCollection, SearchQuery


class RagRetrieval:
    """Implements `ports.Retrieval`."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._collections = CollectionServiceStub(channel)
        self._retrieval = RetrievalServiceStub(channel)

    async def collection(self, caller: Caller, name: str) -> SearchedCollection:
        """See `Retrieval.collection`."""
        request = collection_service_pb2.GetCollectionRequest(id=name)
        with acting_as(caller):
            found = (await self._collections.GetCollection(request)).collection
        searchable = [each for each in found.indexes if each.state != collection_pb2.INDEX_STATE_RETIRED]
        return SearchedCollection(
            name=name,
            live_index=found.live_index,
            settings=_text(found.search),
            documents={each.number: each.documents_indexed for each in searchable},
            index_settings={each.number: _text(each.search) for each in searchable if each.HasField("search")},
        )

    async def search(self, caller: Caller, query: SearchQuery) -> Sequence[str]:
        """See `Retrieval.search`."""
        request = retrieval_service_pb2.SearchRequest(
            collection=query.collection,
            query=query.text,
            top_k=query.passages,
            principals=query.principals,
            index=query.side.index,
            settings=_settings(query.side.settings),
        )
        with acting_as(caller):
            reply = await self._retrieval.Search(request)
        return [*dict.fromkeys(passage.document for passage in reply.passages)]

    async def has_document(self, caller: Caller, collection: str, document: str, *, index: int) -> bool:
        """See `Retrieval.has_document`."""
        request = collection_service_pb2.GetIndexedDocumentRequest(collection=collection, document=document)
        try:
            with acting_as(caller):
                reply = await self._collections.GetIndexedDocument(request)
        except NotFound:
            return False
        return any(each.index == index and each.chunks > 0 for each in reply.documents)


def _text(settings: collection_pb2.SearchSettings) -> str:
    return json.dumps(MessageToDict(settings, preserving_proto_field_name=True), sort_keys=True)


def _settings(text: str) -> collection_pb2.SearchSettings | None:
    """Return search settings; "" is none.

    Raises:
        InvalidInput: they are no settings of this version of rag.

    """
    if not text:
        return None
    try:
        return ParseDict(json.loads(text), collection_pb2.SearchSettings())
    except ParseError as error:
        message = str(error).partition("\n")[0]
        raise InvalidInput.at(
            field="settings", text=f"are not the search settings of a collection: {message}"
        ) from error
