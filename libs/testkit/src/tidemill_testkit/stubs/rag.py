"""rag's collections and search in memory, for tests of what calls it.

`services/rag/tests/contract/test_rag_api.py` holds it to the real one.
"""

import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.json_format import MessageToDict

from tidemill.content.v1 import content_pb2
from tidemill.rag.v1 import collection_pb2
from tidemill.rag.v1 import collection_service_pb2 as collections
from tidemill.rag.v1 import retrieval_service_pb2 as retrieval
from tidemill.rag.v1.collection_service_pb2_grpc import CollectionServiceServicer
from tidemill.rag.v1.retrieval_service_pb2_grpc import RetrievalServiceServicer
from tidemill_core.errors import InvalidInput, NotFound, PreconditionFailed, Violation
from tidemill_core.resources import check_etag, owner_of
from tidemill_testkit.stubs.calls import Context, errors_of, project_of, with_reason

_COMPARED = {"gte": operator.ge, "gt": operator.gt, "lte": operator.le, "lt": operator.lt}
_TOP_K, _MAX_TOP_K, _MAX_CHARACTERS, _MAX_COLLECTIONS = 5, 100, 8000, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class StubPassage:
    """A passage, who may read it (all, where `readers` is empty), and the metadata of its document."""

    passage: content_pb2.Passage
    readers: Sequence[str] = ()
    metadata: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Kept:
    collection: collection_pb2.Collection
    passages: Sequence[StubPassage]


class StubRag(CollectionServiceServicer, RetrievalServiceServicer):
    """Has collections, and finds all passages of one in the order of their addition. Runs in any grpc.aio server."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], _Kept] = {}
        self.searches: list[tuple[str, retrieval.SearchRequest]] = []
        """Projects and requests."""

    def add(
        self, collection: collection_pb2.Collection, *, passages: Sequence[StubPassage] = (), project: str = ""
    ) -> None:
        """Add a collection with its passages, best first; those of the project "" are seen by all."""
        self._kept[project, collection.id] = _Kept(collection, passages)

    async def GetCollection(
        self, request: collections.GetCollectionRequest, context: Context
    ) -> collections.GetCollectionResponse:
        """Return a collection."""
        async with errors_of(context):
            kept = self._of(project_of(context), request.id)
        return collections.GetCollectionResponse(collection=kept.collection)

    async def PromoteIndex(
        self, request: collections.PromoteIndexRequest, context: Context
    ) -> collections.PromoteIndexResponse:
        """Make an index version live that is ready; the one before is ready then."""
        async with errors_of(context):
            collection = self._of(project_of(context), request.id).collection
            check_etag(request.etag, int(collection.etag or 0))
            states = {each.number: each for each in collection.indexes}
            promoted = states.get(_index(collection, request.index))
            if promoted is None or promoted.state == collection_pb2.INDEX_STATE_BUILDING:
                message = f"index version {request.index} of collection {collection.id} is being built"
                raise with_reason(PreconditionFailed(message, collection=collection.id), reason="INDEX_INCOMPLETE")
            collection.etag = str(int(collection.etag or 0) + 1)
            if collection.live_index != promoted.number:
                states[collection.live_index].state = collection_pb2.INDEX_STATE_READY
                promoted.state = collection_pb2.INDEX_STATE_LIVE
                collection.live_index = promoted.number
        return collections.PromoteIndexResponse(collection=collection)

    async def ListCollections(
        self, _request: collections.ListCollectionsRequest, context: Context
    ) -> collections.ListCollectionsResponse:
        """Return all collections, on one page."""
        found = [each.collection for (owner, _), each in self._kept.items() if owner in {"", project_of(context)}]
        return collections.ListCollectionsResponse(collections=found)

    async def GetIndexedDocument(
        self, request: collections.GetIndexedDocumentRequest, context: Context
    ) -> collections.GetIndexedDocumentResponse:
        """Return that a document is in each index version, as often as it has passages; nothing of one without any."""
        async with errors_of(context):
            kept = self._of(project_of(context), request.collection)
        chunks = sum(each.passage.document == request.document for each in kept.passages)
        searchable = [each.number for each in kept.collection.indexes if chunks]
        return collections.GetIndexedDocumentResponse(
            documents=[collections.IndexedDocument(index=number, chunks=chunks) for number in searchable]
        )

    async def Search(self, request: retrieval.SearchRequest, context: Context) -> retrieval.SearchResponse:
        """Return the first passages that the request's groups may read."""
        async with errors_of(context):
            project = project_of(context)
            if violations := list(_violations(request)):
                raise InvalidInput.of(*violations)
            kept = {name: self._of(project, name) for name in (request.collection, *request.other_collections)}
            indexes, warnings = _searched({name: each.collection for name, each in kept.items()}, request.index)
            self.searches.append((project, request))
        found = [
            _named(each, name, project) for name in indexes for each in kept[name].passages if _matches(each, request)
        ]
        reply = retrieval.SearchResponse(
            passages=found[: request.top_k or _TOP_K], index=indexes.get(request.collection, 0), warnings=warnings
        )
        for number, passage in enumerate(reply.passages, start=1):
            passage.id = str(number)
        return reply

    def _of(self, project: str, collection: str) -> _Kept:
        for owner in (project, ""):
            if (owner, collection) in self._kept:
                return self._kept[owner, collection]
        message = f"collection {collection} not found in this project"
        raise with_reason(NotFound(message, collection=collection), reason="COLLECTION_NOT_FOUND")


def _named(each: StubPassage, collection: str, project: str) -> content_pb2.Passage:
    """Return a passage that says which collection of another project it is of."""
    passage = content_pb2.Passage()
    passage.CopyFrom(each.passage)
    passage.collection = collection if owner_of(collection, project) != project else ""
    return passage


def _searched(
    collections: Mapping[str, collection_pb2.Collection], pinned: int
) -> tuple[Mapping[str, int], Sequence[str]]:
    """Return the index versions by collection, and a warning for each of several that has none yet."""
    indexes, warnings = dict[str, int](), list[str]()
    for at, (name, collection) in enumerate(collections.items()):
        try:
            indexes[name] = _index(collection, 0 if at else pinned)
        except PreconditionFailed as not_ready:
            if len(collections) == 1:
                raise
            warnings.append(f"not searched: {not_ready.message}")
    return indexes, warnings


def _index(collection: collection_pb2.Collection, pinned: int) -> int:
    searchable = [each.number for each in collection.indexes if each.state != collection_pb2.INDEX_STATE_RETIRED]
    if pinned and pinned not in searchable:
        message = f"collection {collection.id} has no index version {pinned}"
        raise with_reason(NotFound(message, collection=collection.id), reason="INDEX_NOT_FOUND")
    if not pinned and not collection.live_index:
        message = f"the first index of collection {collection.id} is being built: try again later"
        raise with_reason(PreconditionFailed(message, collection=collection.id), reason="INDEX_NOT_READY")
    return pinned or collection.live_index


def _matches(each: StubPassage, request: retrieval.SearchRequest) -> bool:
    if each.readers and not set(each.readers) & set(request.principals):
        return False
    if request.sources and each.passage.source not in request.sources:
        return False
    return all(_is_in(each.metadata.get(name), value) for name, value in MessageToDict(request.metadata_filter).items())


def _is_in(value: Any, accepted: Any) -> bool:  # noqa: ANN401 - of JSON
    """Return whether a value is, or is one of, or is in the range of what is accepted; times are of one form."""
    if not isinstance(accepted, dict):
        return value in (accepted if isinstance(accepted, list) else [accepted])
    if any(isinstance(bound, str) != isinstance(value, str) for bound in accepted.values()) or value is None:
        return False
    return all(_COMPARED[name](value, bound) for name, bound in accepted.items())


def _violations(request: retrieval.SearchRequest) -> Iterator[Violation]:
    if not request.query.strip():
        yield Violation(field="query", description="is empty")
    if len(request.query) > _MAX_CHARACTERS:
        yield Violation(field="query", description=f"has {len(request.query)} characters")
    if not 0 <= request.top_k <= _MAX_TOP_K:
        yield Violation(field="top_k", description=f"is {request.top_k}")
    names = [request.collection, *request.other_collections]
    if len(set(names)) != len(names) or len(names) > _MAX_COLLECTIONS:
        yield Violation(field="other_collections", description=f"makes {len(names)} collections")
    if request.index < 0:
        yield Violation(field="index", description=f"is {request.index}")
