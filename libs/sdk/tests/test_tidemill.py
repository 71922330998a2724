import json
from contextlib import aclosing
from pathlib import Path

import pytest

from libs.sdk.tests.fakes import FakeTidemill, away
from tidemill.ingest.v1.source_pb2 import Source
from tidemill.status.v1.status_service_pb2 import ServiceStatus
from tidemill_client import Addresses, GenerateOptions, Tidemill, assistant, text_of, user
from tidemill_client.connection import NoAddress
from tidemill_core.errors import DependencyUnavailable, NotFound


async def test_an_answer_comes_whole(tidemill: Tidemill, services: FakeTidemill) -> None:
    answer = await tidemill.generate(
        "helpdesk", "what is this", GenerateOptions(end_user="u1", variables={"tone": "dry"})
    )

    assert text_of(answer) == "what is this"
    (asked,) = services.inference.asked
    assert (asked.deployment, asked.end_user, dict(asked.variables)) == ("helpdesk", "u1", {"tone": "dry"})


async def test_a_conversation_is_asked_with_its_last_message(tidemill: Tidemill) -> None:
    answer = await tidemill.generate("helpdesk", [user("one"), assistant("two"), user("three")])

    assert text_of(answer) == "three"


async def test_each_question_is_one_of_its_own_unless_it_is_named(tidemill: Tidemill) -> None:
    first = await tidemill.generate("helpdesk", "x")
    second = await tidemill.generate("helpdesk", "x")
    named, again = [await tidemill.generate("helpdesk", "x", GenerateOptions(request_id="r1")) for _ in range(2)]

    assert len({first.id, second.id, named.id}) == 3
    assert named.id == again.id


async def test_an_answer_comes_word_by_word(tidemill: Tidemill) -> None:
    events = [event async for event in tidemill.generate_stream("helpdesk", "one two")]

    assert [event.WhichOneof("event") for event in events] == ["started", "delta", "delta", "finished"]
    assert text_of(events[-1].finished) == "one two"


async def test_a_reader_that_leaves_early_ends_the_stream(tidemill: Tidemill, services: FakeTidemill) -> None:
    async with aclosing(tidemill.generate_stream("helpdesk", "word " * 100_000)) as stream:
        assert (await anext(stream)).HasField("started")

    await tidemill.connection.__aexit__(None, None, None)
    await services.stop()
    assert services.inference.streams_ended == 1


async def test_a_search_carries_its_filters(tidemill: Tidemill, services: FakeTidemill) -> None:
    found = await tidemill.search("handbook", "reset", top_k=2, where={"product": ["vpn", "mail"]}, sources=["cms"])

    assert [passage.text for passage in found.passages] == ["reset"]
    assert found.index == 3
    ((_, searched),) = services.rag.searches
    assert (searched.collection, searched.top_k, list(searched.sources)) == ("handbook", 2, ["cms"])
    assert list(searched.metadata_filter["product"]) == ["vpn", "mail"]  # type: ignore[arg-type] # a ListValue


async def test_unavailable_is_tried_again_under_the_same_request_id(tidemill: Tidemill, services: FakeTidemill) -> None:
    services.ingest.fails.errors["CreateSource"] = [away("mongodb"), away("mongodb")]

    await tidemill.sources.create(Source(id="cms"))

    assert len(services.ingest.request_ids) == 3
    assert len(set(services.ingest.request_ids) - {""}) == 1


async def test_nothing_else_is_tried_again(tidemill: Tidemill, services: FakeTidemill) -> None:
    with pytest.raises(NotFound, match="there is no document kb/1"):
        await tidemill.documents.get(source="cms", key="kb/1")

    assert services.ingest.fails.calls == ["GetDocument"]


async def test_every_service_reports_how_it_is_and_one_that_is_away_does_not_hide_the_others(
    services: FakeTidemill,
) -> None:
    addresses = Addresses(
        services={name: f"127.0.0.1:{port}" for name, port in services.ports.items()} | {"rag": "127.0.0.1:9"}
    )
    async with Tidemill("acme", addresses) as client:
        status = await client.status()

    assert isinstance(status["rag"], DependencyUnavailable)
    ready = [name for name, one in status.items() if isinstance(one, ServiceStatus) and one.ready]
    assert sorted(ready) == ["inference", "ingest", "trainer"]


async def test_addresses_come_from_the_environment_and_then_from_the_nearest_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".tidemill").mkdir()
    stack = {"kafka": "k:1", "services": {"rag": {"grpc": "r:1"}, "ingest": {"grpc": "i:1"}}}
    (tmp_path / ".tidemill" / "stack.json").write_text(json.dumps(stack))
    (tmp_path / "deep" / "inside").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep" / "inside")
    monkeypatch.setenv("TIDEMILL_INGEST_ADDRESS", "elsewhere:1")

    async with Tidemill("acme") as client:
        found = client.connection.addresses
        with pytest.raises(NoAddress, match="TIDEMILL_TRAINER_ADDRESS"):
            await client.models.get("m")

    assert (found.services["rag"], found.services["ingest"], found.kafka) == ("r:1", "elsewhere:1", "k:1")
