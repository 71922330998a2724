"""Passages, as rag finds them."""

from collections.abc import Sequence

import grpc
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from tidemill.rag.v1 import (
    collection_service_pb2,
    collection_service_pb2_grpc,
    retrieval_service_pb2,
    retrieval_service_pb2_grpc,
)
from tidemill_core.application import Caller
from tidemill_core.errors import (
    DeadlineExceeded,
    DependencyUnavailable,
    Internal,
    InvalidInput,
    NotFound,
    PreconditionFailed,
)
from tidemill_core.grpc.context import acting_as
from tidemill_core.resources import owner_of
from tidemill_inference.deployments.domain.configuration import Retrieval
from tidemill_inference.deployments.domain.errors import ReferenceNotFound
from tidemill_inference.generation.domain.content import Passage
from tidemill_inference.generation.ports import Found
from tidemill_kit.mapping import REST, from_message

_SHOWN = 50
_PROBE = "test"
_MAX_QUERY_CHARACTERS = 8000
"""More than any embedding model reads."""


class RagRetriever:
    """Implements `ports.Retriever`."""

    def __init__(self, channel: grpc.aio.Channel, *, timeout_s: float) -> None:
        self._collections = collection_service_pb2_grpc.CollectionServiceStub(channel)
        self._retrieval = retrieval_service_pb2_grpc.RetrievalServiceStub(channel)
        self._timeout_s = timeout_s

    async def check(self, caller: Caller, retrieval: Retrieval) -> None:
        """See `Retriever.check`."""
        for number, name in enumerate(retrieval.collections):
            field = f"retrieval.other_collections[{number - 1}]" if number else "retrieval.collection"
            await self._check(caller, name, index=0 if number else retrieval.index, field=field)

    async def _check(self, caller: Caller, name: str, *, index: int, field: str) -> None:
        if owner_of(name, caller.project) != caller.project:
            await self._check_shared(caller, name, index=index, field=field)
            return
        try:
            with acting_as(caller):
                response = await self._collections.GetCollection(
                    collection_service_pb2.GetCollectionRequest(id=name), timeout=self._timeout_s
                )
        except (NotFound, InvalidInput) as error:
            known = await self._known(caller)
            raise ReferenceNotFound(name, field=field, known=known) from error
        numbers = [each.number for each in response.collection.indexes]
        if index and index not in numbers:
            there = [str(number) for number in numbers]
            raise ReferenceNotFound(str(index), field="retrieval.index", known=there)

    async def search(
        self,
        caller: Caller,
        retrieval: Retrieval,
        *,
        question: str,
        principals: Sequence[str],
        timeout_s: float,
    ) -> Found:
        """See `Retriever.search`."""
        metadata_filter = ParseDict(dict(retrieval.metadata_filter), Struct())
        request = retrieval_service_pb2.SearchRequest(
            collection=retrieval.collection,
            query=question[:_MAX_QUERY_CHARACTERS],
            top_k=retrieval.top_k,
            metadata_filter=metadata_filter,
            principals=principals,
            index=retrieval.index,
            other_collections=retrieval.other_collections,
        )
        try:
            with acting_as(caller):
                response = await self._retrieval.Search(request, timeout=min(timeout_s, self._timeout_s))
        except (NotFound, InvalidInput) as error:
            # The deployment is at fault, not the question: the collection was there when it was configured.
            message = f"{retrieval.named} cannot be searched: {error.message}"
            raise PreconditionFailed(message, collection=retrieval.collection) from error
        except (DeadlineExceeded, Internal) as error:
            message = f"rag does not answer: {error.message}"
            raise DependencyUnavailable(message, dependency="rag") from error
        passages = tuple(
            from_message(Passage, each, ignore=REST, id=str(number))
            for number, each in enumerate(response.passages, start=1)
        )
        return Found(passages=passages, index=response.index, warnings=tuple(response.warnings))

    async def _check_shared(self, caller: Caller, name: str, *, index: int, field: str) -> None:
        """Search, which is all that another project lets one do."""
        request = retrieval_service_pb2.SearchRequest(collection=name, query=_PROBE, top_k=1, index=index)
        try:
            with acting_as(caller):
                await self._retrieval.Search(request, timeout=self._timeout_s)
        except (NotFound, InvalidInput) as error:
            known = await self._known(caller)
            raise ReferenceNotFound(name, field=field, known=known) from error
        except PreconditionFailed:  # it is there; its first index is still built
            return

    async def _known(self, caller: Caller) -> list[str]:
        with acting_as(caller):
            response = await self._collections.ListCollections(
                collection_service_pb2.ListCollectionsRequest(page_size=_SHOWN), timeout=self._timeout_s
            )
        return [collection.id for collection in response.collections]
