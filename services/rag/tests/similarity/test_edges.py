"""The ledger of similar texts in MongoDB, and their API over gRPC."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import grpc
import pytest

from services.rag.tests.collections.test_grpc import settings
from services.rag.tests.similarity.similar import InMemorySimilarTexts, Similar
from tidemill.rag.v1 import similar_text_service_pb2 as pb
from tidemill.rag.v1.similar_text_service_pb2_grpc import (
    SimilarTextServiceStub,
    add_SimilarTextServiceServicer_to_server,
)
from tidemill_core.errors import InvalidInput, NotFound
from tidemill_kit.store.mongo import connect
from tidemill_local import Addresses
from tidemill_rag.similarity.domain import SimilarText
from tidemill_rag.similarity.grpc import GrpcSimilarTextService
from tidemill_rag.similarity.mongo import MongoSimilarTexts
from tidemill_rag.similarity.ports import SimilarTexts
from tidemill_testkit.access import access_of, admin_channel
from tidemill_testkit.audit import RecordedCalls
from tidemill_testkit.clocks import NOON
from tidemill_testkit.direct_calls import DirectServer
from tidemill_testkit.stack import unique_name
from tidemill_testkit.stubs.similar_texts import StubSimilarTexts

TEXT = SimilarText(id="i1", place="p", dimensions=4, expire_time=NOON, end_user="ada")


@pytest.fixture(params=["memory", "mongo"])
async def texts(request: pytest.FixtureRequest, stack: Addresses) -> AsyncIterator[SimilarTexts]:
    if request.param == "memory":
        yield InMemorySimilarTexts()
        return
    client, name = connect(stack.mongo, timeout_s=10), unique_name("similar")
    store = MongoSimilarTexts(client[name]["texts"], client[name]["indexes"])
    await store.ensure_indexes()
    yield store
    await client.drop_database(name)
    client.close()


def several(count: int) -> list[SimilarText]:
    return [replace(TEXT, id=f"i{n}", expire_time=NOON + timedelta(minutes=n)) for n in range(count)]


async def test_current_are_those_of_the_place_that_have_not_expired(texts: SimilarTexts) -> None:
    await texts.put("acme", TEXT)
    await texts.put("acme", replace(TEXT, id="i2", place="q"))
    before = NOON - timedelta(seconds=1)

    assert set(await texts.current("acme", ["i1", "i2", "i3"], place="p", now=before)) == {"i1"}
    assert not await texts.current("acme", ["i1"], place="p", now=NOON)
    assert not await texts.current("globex", ["i1"], place="p", now=before)


async def test_an_id_is_put_once_and_removed_in_its_project(texts: SimilarTexts) -> None:
    for project in ("acme", "globex"):
        await texts.put(project, TEXT)
    await texts.put("acme", replace(TEXT, place="q"))

    assert list(await texts.get("acme", ["i1", "absent"])) == [replace(TEXT, place="q")]
    await texts.remove("acme", ["i1", "absent"])
    await texts.remove("acme", [])
    assert list(await texts.get("acme", ["i1"])) == []
    assert list(await texts.get("globex", ["i1"])) == [TEXT]


async def test_those_of_a_project_a_person_and_the_expired_ones_are_found(texts: SimilarTexts) -> None:
    for each in several(4):
        await texts.put("acme", each)
    await texts.put("acme", replace(TEXT, id="b", end_user="bob", expire_time=NOON + timedelta(hours=1)))
    await texts.put("globex", TEXT)

    assert await texts.count("acme", limit=3) == 3
    assert [each.id for each in await texts.first("acme", limit=2)] == ["i0", "i1"]
    assert {each.id for each in await texts.of_end_user("acme", "ada", limit=9)} == {"i0", "i1", "i2", "i3"}
    assert len(await texts.of_end_user("acme", "ada", limit=2)) == 2
    found = await texts.expired(NOON + timedelta(minutes=1), limit=9)
    assert {(project, each.id) for project, each in found} == {("acme", "i0"), ("acme", "i1"), ("globex", "i1")}


async def test_the_indexes_of_a_project_are_remembered(texts: SimilarTexts) -> None:
    for project, dimensions in (("acme", 384), ("acme", 384), ("acme", 768), ("globex", 4)):
        await texts.add_index(project, dimensions)

    assert set(await texts.indexes("acme")) == {384, 768}


@pytest.fixture(params=["rag", "stub"])
async def api(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SimilarTextServiceStub]:
    similar = Similar()
    service = GrpcSimilarTextService(find=similar.finds, put=similar.puts, remove=similar.removes)
    server = DirectServer(
        settings(tmp_path),
        [(add_SimilarTextServiceServicer_to_server, service)],
        access=access_of(),
        audit=RecordedCalls(),
    )
    stubs = grpc.aio.server()
    port = stubs.add_insecure_port("127.0.0.1:0")
    add_SimilarTextServiceServicer_to_server(StubSimilarTexts("words"), stubs)
    await server.start()
    await server.set_ready(True)
    await stubs.start()
    address = f"127.0.0.1:{server.port if request.param == 'rag' else port}"
    async with admin_channel(address, name="rag", project="acme") as channel:
        yield SimilarTextServiceStub(channel)
    await stubs.stop(None)
    await server.stop(1.0)


async def test_a_text_is_put_found_and_removed_over_grpc_as_by_the_stub(api: SimilarTextServiceStub) -> None:
    asked = pb.FindSimilarTextsRequest(model="words", scope="s", text="a b c", min_score=0.9)
    other = pb.FindSimilarTextsRequest(model="words", scope="t", text="a b c", min_score=0.9)
    put = pb.PutSimilarTextRequest(model="words", scope="s", text="a b c", id="i1", end_user="ada")
    put.expire_time.FromDatetime(NOON + timedelta(hours=1))

    kept = await api.PutSimilarText(put)
    assert (kept.kept, kept.HasField("expire_time")) == (True, True)
    [match] = (await api.FindSimilarTexts(asked)).matches
    assert match.id == "i1"
    assert match.score == pytest.approx(1.0)
    assert not (await api.FindSimilarTexts(other)).matches
    await api.RemoveSimilarTexts(pb.RemoveSimilarTextsRequest(ids=["i1", "absent"]))
    assert not (await api.FindSimilarTexts(asked)).matches


async def test_a_model_that_is_not_there_and_a_scope_that_is_none_are_refused_alike(
    api: SimilarTextServiceStub,
) -> None:
    asked = pb.FindSimilarTextsRequest(model="absent", scope="s", text="a b c", min_score=0.9)

    with pytest.raises(NotFound):
        await api.FindSimilarTexts(asked)
    asked.model, asked.scope = "words", ""
    with pytest.raises(InvalidInput, match="scope: has 0 characters"):
        await api.FindSimilarTexts(asked)
