"""The gRPC API of rag: a real server on a free port, with in-memory stores."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from services.rag.tests.fakes import Rag
from tidemill.rag.v1 import collection_pb2, retrieval_service_pb2
from tidemill.rag.v1 import collection_service_pb2 as pb
from tidemill.rag.v1.collection_service_pb2_grpc import (
    CollectionServiceStub,
    add_CollectionServiceServicer_to_server,
)
from tidemill.rag.v1.retrieval_service_pb2_grpc import RetrievalServiceStub, add_RetrievalServiceServicer_to_server
from tidemill_core.errors import Conflict, InvalidInput, NotFound, Unauthenticated
from tidemill_rag.collections.grpc import GrpcCollectionService
from tidemill_rag.search.grpc import GrpcRetrievalService
from tidemill_rag.settings import RagSettings
from tidemill_testkit.access import access_of, admin_channel, installation
from tidemill_testkit.audit import RecordedCalls
from tidemill_testkit.direct_calls import DirectServer


@dataclass(kw_only=True)
class ApiClient:
    """Stubs for project acme."""

    rag: Rag
    port: int
    collections: CollectionServiceStub
    retrieval: RetrievalServiceStub

    async def create(self, *, validate_only: bool = False, **fields: object) -> collection_pb2.Collection:
        collection = {"id": "handbook", "sources": ["cms"], "embedding": "words"} | fields
        request = pb.CreateCollectionRequest(validate_only=validate_only)
        ParseDict(collection, request.collection)
        return (await self.collections.CreateCollection(request)).collection

    async def search(self, query: str, **metadata: object) -> retrieval_service_pb2.SearchResponse:
        request = retrieval_service_pb2.SearchRequest(
            collection="handbook", query=query, metadata_filter=ParseDict(metadata, Struct())
        )
        return await self.retrieval.Search(request)


def settings(folder: Path) -> RagSettings:
    return without_servers().model_copy(update={"data_dir": folder})


@cache
def without_servers() -> RagSettings:
    return RagSettings.model_validate(
        {
            "grpc_port": 0,
            "access_issuers": (installation().setting,),
            "kafka_bootstrap_servers": "127.0.0.1:1",
            "mongo_uri": "mongodb://127.0.0.1:1",
            "s3_endpoint": "127.0.0.1:1",
            "s3_access_key": "key",
            "s3_secret_key": "secret",
            "data_dir": Path(),
            "ingest_address": "127.0.0.1:1",
            "trainer_address": "127.0.0.1:1",
        }
    )


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[ApiClient]:
    rag = Rag()
    server = DirectServer(
        settings(tmp_path),
        [
            (
                add_CollectionServiceServicer_to_server,
                GrpcCollectionService(crud=rag.crud, rebuild=rag.rebuild, promote=rag.promote),
            ),
            (add_RetrievalServiceServicer_to_server, GrpcRetrievalService(search=rag.search_passages)),
        ],
        access=access_of(),
        audit=RecordedCalls(),
    )
    await server.start()
    async with admin_channel(f"127.0.0.1:{server.port}", project="acme") as channel:
        yield ApiClient(
            rag=rag,
            port=server.port,
            collections=CollectionServiceStub(channel),
            retrieval=RetrievalServiceStub(channel),
        )
    await server.stop(1)


async def test_a_collection_is_made_searched_changed_rebuilt_and_deleted(api: ApiClient) -> None:
    text = "# VPN\n\nReset a password.\n"
    api.rag.ingest.put("d1", text, media_type="text/markdown", title="VPN", metadata={"product": "vpn", "level": 5})
    created = await api.create(labels={"team": "support"})
    assert (created.project, created.indexes[0].state) == ("acme", collection_pb2.INDEX_STATE_BUILDING)
    await api.rag.work()

    got = (await api.collections.GetCollection(pb.GetCollectionRequest(id="handbook"))).collection
    assert (got.live_index, got.embedding, got.indexes[0].embedding) == (1, "words", "words@1")
    assert (got.indexes[0].documents_wanted, got.indexes[0].documents_indexed, got.indexes[0].chunks) == (1, 1, 1)
    assert (got.chunking.by, got.chunking.max_tokens, got.chunking.overlap_tokens) == ("structure", 256, 32)

    answer = await api.search("reset password", product=["vpn", "mail"], level=5)
    [passage] = answer.passages
    assert (passage.id, passage.document, passage.source, passage.title, answer.index) == ("1", "d1", "cms", "VPN", 1)
    assert text[passage.start : passage.end] == passage.text

    update = pb.UpdateCollectionRequest(
        collection=collection_pb2.Collection(id="handbook", etag=got.etag, labels={"team": "sales"}),
        update_mask=FieldMask(paths=["labels"]),
    )
    assert (await api.collections.UpdateCollection(update)).collection.labels == {"team": "sales"}
    update.request_id = "again"
    with pytest.raises(Conflict):
        await api.collections.UpdateCollection(update)

    rebuilt = (await api.collections.RebuildIndex(pb.RebuildIndexRequest(id="handbook"))).collection
    assert [index.number for index in rebuilt.indexes] == [1, 2]
    await api.collections.DeleteCollection(pb.DeleteCollectionRequest(id="handbook"))
    assert not (await api.collections.ListCollections(pb.ListCollectionsRequest())).collections


async def test_analysis_and_fusion_go_from_the_request_to_the_collection(
    api: ApiClient,
) -> None:
    default = await api.create(id="plain")
    given = await api.create(
        sparse={"by": "bm25", "languages": ["de", "en"]}, search={"dense_weight": 0, "sparse_weight": 2}
    )
    update = pb.UpdateCollectionRequest(
        collection=collection_pb2.Collection(id="handbook", search=collection_pb2.SearchSettings(sparse_weight=0)),
        update_mask=FieldMask(paths=["search", "sparse"]),
    )
    updated = (await api.collections.UpdateCollection(update)).collection

    assert (default.sparse.by, [*default.indexes[0].sparse.languages]) == ("bm25", ["en"])
    assert (default.search.dense_weight, default.search.sparse_weight) == (1.0, 0.7)
    assert [*given.sparse.languages] == [*given.indexes[0].sparse.languages] == ["de", "en"]
    assert (given.search.dense_weight, given.search.sparse_weight) == (0.0, 2.0)
    assert (updated.search.dense_weight, updated.search.sparse_weight) == (1.0, 0.0)
    assert (updated.sparse, len(updated.indexes)) == (given.sparse, 1)


async def test_reranking_and_chunking_go_from_the_request_to_the_collection_and_scores_to_the_passages(
    api: ApiClient,
) -> None:
    api.rag.ingest.put("d1", "pump pump")
    given = await api.create(
        chunking={"by": "sentence"},
        search={"diversity": 0.5, "neighbours": 2, "rerank": {"model": "counting@1"}},
    )
    await api.rag.work()
    [passage] = (await api.search("pump")).passages

    assert (given.chunking.by, given.indexes[0].chunking.by) == ("sentence", "sentence")
    assert (given.search.diversity, given.search.neighbours) == (0.5, 2)
    assert (given.search.rerank.model, given.search.rerank.candidates) == ("counting@1", 20)
    assert (round(passage.score, 3), passage.rerank_score) == (1.0, 0.2)
    assert passage.collection == ""


async def test_an_index_version_that_waits_is_shown_and_promoted(api: ApiClient) -> None:
    created = await api.create(go_live="GO_LIVE_BY_ROLLOUT")
    await api.rag.work()
    await api.collections.RebuildIndex(pb.RebuildIndexRequest(id="handbook"))
    await api.rag.work()
    waits = (await api.collections.GetCollection(pb.GetCollectionRequest(id="handbook"))).collection

    request = pb.PromoteIndexRequest(id="handbook", index=2, etag=waits.etag)
    promoted = (await api.collections.PromoteIndex(request)).collection

    assert created.go_live == collection_pb2.GO_LIVE_BY_ROLLOUT
    assert (waits.live_index, waits.indexes[1].state) == (1, collection_pb2.INDEX_STATE_READY)
    assert (promoted.live_index, promoted.indexes[0].state) == (2, collection_pb2.INDEX_STATE_READY)
    assert promoted.indexes[0].HasField("expire_time")
    assert not promoted.indexes[1].HasField("expire_time")
    with pytest.raises(NotFound, match="existing: 1, 2"):
        await api.collections.PromoteIndex(pb.PromoteIndexRequest(id="handbook", index=7))


async def test_collections_are_listed_in_the_order_that_is_asked_for(api: ApiClient) -> None:
    for name in ("first", "second"):
        await api.create(id=name)
        api.rag.clock.advance(timedelta(seconds=1))

    request = pb.ListCollectionsRequest(order_by="create_time desc")
    listed = (await api.collections.ListCollections(request)).collections

    assert [collection.id for collection in listed] == ["second", "first"]


async def test_where_a_document_stands_is_reported(api: ApiClient) -> None:
    await api.create()
    await api.rag.work()
    await api.rag.consume(api.rag.ingest.put("d1", "words", seq=4))

    request = pb.GetIndexedDocumentRequest(collection="handbook", document="d1")
    [before] = (await api.collections.GetIndexedDocument(request)).documents
    await api.rag.work()
    [after] = (await api.collections.GetIndexedDocument(request)).documents

    assert (before.wanted_seq, before.indexed_seq) == (4, 0)
    assert (after.wanted_seq, after.indexed_seq, after.chunks, after.message) == (4, 4, 1, "")


async def test_validating_only_shows_what_would_be(api: ApiClient) -> None:
    shown = await api.create(validate_only=True, chunking={"max_tokens": 64, "overlap_tokens": 0})

    assert (shown.chunking.max_tokens, shown.chunking.overlap_tokens) == (64, 0)
    assert not (await api.collections.ListCollections(pb.ListCollectionsRequest())).collections


async def test_a_filter_that_is_no_value_or_list_of_values_is_refused(api: ApiClient) -> None:
    await api.create()
    await api.rag.work()

    with pytest.raises(InvalidInput, match=r"metadata_filter\.product"):
        await api.search("words", product={"is": "vpn"})
    with pytest.raises(InvalidInput, match=r"metadata_filter\.product"):
        await api.search("words", product=[])


async def test_calls_without_a_project_are_refused(api: ApiClient) -> None:
    async with admin_channel(f"127.0.0.1:{api.port}", project="No project") as channel:
        with pytest.raises(Unauthenticated):
            await RetrievalServiceStub(channel).Search(retrieval_service_pb2.SearchRequest())


async def test_another_project_sees_nothing(api: ApiClient) -> None:
    await api.create()
    async with admin_channel(f"127.0.0.1:{api.port}", project="other") as channel:
        with pytest.raises(NotFound):
            await CollectionServiceStub(channel).GetCollection(pb.GetCollectionRequest(id="handbook"))


async def test_a_field_that_cannot_be_changed_is_named(api: ApiClient) -> None:
    await api.create()
    request = pb.UpdateCollectionRequest(
        collection=collection_pb2.Collection(id="handbook"), update_mask=FieldMask(paths=["live_index"])
    )

    with pytest.raises(InvalidInput, match="'live_index' cannot be changed"):
        await api.collections.UpdateCollection(request)
