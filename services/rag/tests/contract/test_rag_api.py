"""rag and the stub that other services are tested with answer alike."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from services.rag.tests.collections.test_grpc import settings
from services.rag.tests.fakes import ADA, Rag, spec, write
from tidemill.rag.v1 import collection_pb2, collection_service_pb2, retrieval_service_pb2
from tidemill.rag.v1.collection_service_pb2_grpc import CollectionServiceStub, add_CollectionServiceServicer_to_server
from tidemill.rag.v1.retrieval_service_pb2_grpc import RetrievalServiceStub, add_RetrievalServiceServicer_to_server
from tidemill_core.errors import Conflict, InvalidInput, NotFound, PreconditionFailed
from tidemill_rag.collections.domain.collection import GoLive
from tidemill_rag.collections.grpc import GrpcCollectionService
from tidemill_rag.search.grpc import GrpcRetrievalService
from tidemill_testkit.access import access_of, admin_channel
from tidemill_testkit.audit import RecordedCalls
from tidemill_testkit.direct_calls import DirectServer
from tidemill_testkit.stubs.rag import StubPassage, StubRag

TEXTS = {"walk": "os.walk walks a directory tree", "dump": "json.dumps walks an object", "staff": "walks for staff"}
READERS = {"staff": ("staff",)}
METADATA: Mapping[str, dict[str, str | int | float | bool]] = {
    "dump": {"product": "json", "level": 2.5, "published": "2026-03-31"}
}


@dataclass(frozen=True, kw_only=True)
class Api:
    """Clients of two projects, of which acme has the collections."""

    collections: CollectionServiceStub
    retrieval: RetrievalServiceStub
    globex: CollectionServiceStub

    async def search(
        self, query: str = TEXTS["walk"], *, metadata: Mapping[str, object] | None = None, **fields: object
    ) -> retrieval_service_pb2.SearchResponse:
        chosen = ParseDict(dict(metadata or {}), Struct())
        request = retrieval_service_pb2.SearchRequest(
            **{"collection": "handbook", "query": query, "metadata_filter": chosen, **fields}  # type: ignore[arg-type]
        )
        return await self.retrieval.Search(request)

    async def found(self, **fields: Any) -> list[str]:  # noqa: ANN401 - fields of a request
        return [passage.document for passage in (await self.search(**fields)).passages]


async def filled() -> Rag:
    """Return a rag that has indexed the texts, with a collection that is not ready beside them."""
    rag = Rag()
    for name, text in TEXTS.items():
        rag.ingest.put(name, text, readers=READERS.get(name, ()), metadata=METADATA.get(name, {}))
    await rag.crud.create(ADA, replace(spec("waiting", sources=("none",)), go_live=GoLive.BY_ROLLOUT), write("r0"))
    await rag.work(collection="waiting")
    await rag.rebuild(ADA, "waiting", write("second"))
    await rag.work(collection="waiting")
    await rag.rebuild(ADA, "waiting", write("third"))
    rag.clock.advance(timedelta(seconds=1))
    await rag.handbook()
    rag.clock.advance(timedelta(seconds=1))
    await rag.crud.create(ADA, spec("early"), write("r2"))
    return rag


async def stub(real: Api) -> StubRag:
    """Return a stub that has what rag has."""
    made = StubRag()  # type: ignore[abstract] # it has what others call
    found = (await real.search(principals=["staff"])).passages
    passages = [
        StubPassage(passage=each, readers=READERS.get(each.document, ()), metadata=METADATA.get(each.document, {}))
        for each in found
    ]
    for each in (await real.collections.ListCollections(collection_service_pb2.ListCollectionsRequest())).collections:
        made.add(each, passages=passages, project="acme")
    return made


@pytest.fixture(params=["rag", "stub"])
async def api(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Api]:
    rag = await filled()
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
    stubs = grpc.aio.server()
    port = stubs.add_insecure_port("127.0.0.1:0")
    async with clients(server.port) as real:
        if request.param == "rag":
            yield real
        else:
            made = await stub(real)
            add_CollectionServiceServicer_to_server(made, stubs)
            add_RetrievalServiceServicer_to_server(made, stubs)
            await stubs.start()
            async with clients(port) as stubbed:
                yield stubbed
    await stubs.stop(None)
    await server.stop(1)


@asynccontextmanager
async def clients(port: int) -> AsyncIterator[Api]:
    address = f"127.0.0.1:{port}"
    async with admin_channel(address, project="acme") as acme, admin_channel(address, project="globex") as globex:
        yield Api(
            collections=CollectionServiceStub(acme),
            retrieval=RetrievalServiceStub(acme),
            globex=CollectionServiceStub(globex),
        )


async def test_a_collection_is_found_with_its_index_versions_and_not_by_another_project(api: Api) -> None:
    request = collection_service_pb2.GetCollectionRequest(id="handbook")
    found = (await api.collections.GetCollection(request)).collection
    everything = collection_service_pb2.ListCollectionsRequest()
    listed = (await api.collections.ListCollections(everything)).collections

    assert (found.id, found.live_index, [each.number for each in found.indexes]) == ("handbook", 1, [1])
    assert found.indexes[0].state == collection_pb2.INDEX_STATE_LIVE
    assert [each.id for each in listed] == ["waiting", "handbook", "early"]
    assert not (await api.globex.ListCollections(everything)).collections
    with pytest.raises(NotFound) as missing:
        await api.globex.GetCollection(request)
    assert missing.value.reason == "COLLECTION_NOT_FOUND"


async def test_an_index_version_that_is_ready_is_made_live_and_the_one_before_is_ready(api: Api) -> None:
    promote, get = collection_service_pb2.PromoteIndexRequest, collection_service_pb2.GetCollectionRequest
    found = (await api.collections.GetCollection(get(id="waiting"))).collection
    assert [each.state for each in found.indexes][:2] == [
        collection_pb2.INDEX_STATE_LIVE,
        collection_pb2.INDEX_STATE_READY,
    ]

    changed = (await api.collections.PromoteIndex(promote(id="waiting", index=2, etag=found.etag))).collection
    again = (await api.collections.PromoteIndex(promote(id="waiting", index=2))).collection

    assert (changed.live_index, changed.indexes[0].state) == (2, collection_pb2.INDEX_STATE_READY)
    assert (again.live_index, again.etag == found.etag) == (2, False)
    with pytest.raises(Conflict):
        await api.collections.PromoteIndex(promote(id="waiting", index=1, etag=found.etag))
    with pytest.raises(PreconditionFailed) as built:
        await api.collections.PromoteIndex(promote(id="waiting", index=3))
    with pytest.raises(NotFound) as missing:
        await api.collections.PromoteIndex(promote(id="waiting", index=9))
    assert (built.value.reason, missing.value.reason) == ("INDEX_INCOMPLETE", "INDEX_NOT_FOUND")


async def test_it_is_known_which_documents_an_index_version_has(api: Api) -> None:
    def request(document: str) -> collection_service_pb2.GetIndexedDocumentRequest:
        return collection_service_pb2.GetIndexedDocumentRequest(collection="handbook", document=document)

    known = await api.collections.GetIndexedDocument(request("walk"))

    assert [(each.index, each.chunks) for each in known.documents] == [(1, 1)]
    assert not (await api.collections.GetIndexedDocument(request("gone"))).documents


async def test_passages_come_best_first_numbered_from_one_with_text_span_and_the_index_version(api: Api) -> None:
    answer = await api.search()

    assert [each.id for each in answer.passages] == ["1", "2"]
    best = answer.passages[0]
    assert (best.document, best.text, best.source, answer.index) == ("walk", TEXTS["walk"], "cms", 1)
    assert (best.start, best.end, best.version) == (0, len(TEXTS["walk"]), 1)


async def test_what_is_asked_for_narrows_what_is_found(api: Api) -> None:
    assert await api.found(top_k=1) == ["walk"]
    assert await api.found(principals=["staff"]) == ["walk", "staff", "dump"]
    assert await api.found(principals=["guests"]) == ["walk", "dump"]
    assert await api.found(sources=["elsewhere"]) == []
    assert await api.found(metadata={"product": "json"}) == ["dump"]
    assert await api.found(metadata={"product": ["xml", "json"]}) == ["dump"]
    assert await api.found(metadata={"level": {"gt": 2, "lte": 2.5}}) == ["dump"]
    assert await api.found(metadata={"level": {"lt": 2.5}}) == []
    assert await api.found(metadata={"published": {"gte": "2026-01-01", "lt": "2026-04-01"}}) == ["dump"]
    assert await api.found(metadata={"published": {"gte": 1}}) == []
    assert await api.found(index=1) == ["walk", "dump"]


async def test_several_collections_answer_as_one_and_the_one_that_is_not_ready_is_a_warning(api: Api) -> None:
    answer = await api.search(other_collections=["early"])

    assert [passage.document for passage in answer.passages] == ["walk", "dump"]
    assert (answer.index, len(answer.warnings)) == (1, 1)
    assert answer.warnings[0].startswith("not searched: the first index of collection early is being built")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"collection": "nope"}, "COLLECTION_NOT_FOUND"),
        ({"other_collections": ["nope"]}, "COLLECTION_NOT_FOUND"),
        ({"index": 9}, "INDEX_NOT_FOUND"),
    ],
)
async def test_what_is_not_there_is_not_searched(api: Api, fields: dict[str, object], reason: str) -> None:
    with pytest.raises(NotFound) as missing:
        await api.search(**fields)  # type: ignore[arg-type] # parametrized

    assert missing.value.reason == reason


async def test_a_collection_whose_first_index_is_being_built_is_not_ready(api: Api) -> None:
    with pytest.raises(PreconditionFailed) as refused:
        await api.search(collection="early")

    assert refused.value.reason == "INDEX_NOT_READY"


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"query": " "}, "query"),
        ({"top_k": 101}, "top_k"),
        ({"index": -1}, "index"),
        ({"other_collections": ["handbook"]}, "other_collections"),
    ],
)
async def test_a_search_that_cannot_be_is_refused_by_its_field(api: Api, fields: dict[str, object], named: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        await api.search(**fields)  # type: ignore[arg-type] # parametrized

    assert [each.field for each in refused.value.violations] == [named]
