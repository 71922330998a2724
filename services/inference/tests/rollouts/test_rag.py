"""Index versions at rag: which is live, and making another one live."""

from collections.abc import AsyncIterator

import grpc
import pytest

from services.inference.tests.fakes import ADA
from tidemill.rag.v1 import collection_pb2
from tidemill.rag.v1.collection_service_pb2_grpc import add_CollectionServiceServicer_to_server
from tidemill_core.errors import DependencyUnavailable
from tidemill_inference.rollouts.domain.changes import IndexChange
from tidemill_inference.rollouts.domain.errors import IndexNotReady, LiveIndexChanged
from tidemill_inference.rollouts.rag import RagIndexes
from tidemill_testkit.access import admin_channel
from tidemill_testkit.stubs.rag import StubRag


def change(number: int = 5, *, collection: str = "handbook", before: int = 4, pending: int = 0) -> IndexChange:
    return IndexChange(collection=collection, number=number, before=before, pending=pending or number)


@pytest.fixture
async def rag() -> AsyncIterator[tuple[StubRag, RagIndexes]]:
    server, stub = grpc.aio.server(), StubRag()  # type: ignore[abstract] # it has what others call
    states = {
        3: collection_pb2.INDEX_STATE_RETIRED,
        4: collection_pb2.INDEX_STATE_LIVE,
        5: collection_pb2.INDEX_STATE_READY,
        6: collection_pb2.INDEX_STATE_BUILDING,
    }
    indexes = [collection_pb2.IndexVersion(number=number, state=state) for number, state in states.items()]
    stub.add(collection_pb2.Collection(id="handbook", live_index=4, indexes=indexes, etag="7"))
    add_CollectionServiceServicer_to_server(stub, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with admin_channel(f"127.0.0.1:{port}", name="rag", project=ADA.project) as channel:
        yield stub, RagIndexes(channel, timeout_s=5)
    await server.stop(None)


async def test_a_ready_index_version_is_made_live_once_and_back(rag: tuple[StubRag, RagIndexes]) -> None:
    _, indexes = rag
    assert await indexes.live(ADA, "handbook", 5) == 4

    await indexes.promote(ADA, change())
    await indexes.promote(ADA, change())
    assert await indexes.live(ADA, "handbook", 5) == 5
    await indexes.promote(ADA, change(pending=4))

    assert await indexes.live(ADA, "handbook", 5) == 4


@pytest.mark.parametrize("gone", [change(3), change(6), change(9), change(collection="nope")])
async def test_what_is_not_ready_is_refused(rag: tuple[StubRag, RagIndexes], gone: IndexChange) -> None:
    _, indexes = rag

    with pytest.raises(IndexNotReady):
        await indexes.live(ADA, gone.collection, gone.number)
    with pytest.raises(IndexNotReady):
        await indexes.promote(ADA, gone)


async def test_a_rollback_of_what_is_not_live_yet_makes_its_promotion_come_too_late(
    rag: tuple[StubRag, RagIndexes],
) -> None:
    stub, indexes = rag
    live = collection_pb2.IndexVersion(number=4, state=collection_pb2.INDEX_STATE_LIVE)
    handbook = collection_pb2.Collection(id="handbook", live_index=4, indexes=[live], etag="7")
    stub.add(handbook)

    await indexes.promote(ADA, change(pending=4))

    assert (handbook.live_index, handbook.etag) == (4, "8")


async def test_what_went_live_meanwhile_is_not_replaced(rag: tuple[StubRag, RagIndexes]) -> None:
    _, indexes = rag

    with pytest.raises(LiveIndexChanged, match="version 4 is live by now"):
        await indexes.promote(ADA, change(before=3))
    assert await indexes.live(ADA, "handbook", 5) == 4


async def test_a_rag_that_is_not_there_is_an_outage() -> None:
    async with admin_channel("127.0.0.1:1", name="rag", project=ADA.project, timeout_s=1) as channel:
        with pytest.raises(DependencyUnavailable):
            await RagIndexes(channel, timeout_s=1).promote(ADA, change())
