"""The same platform by `tidemill_client.Tidemill`, as a program uses it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.system.running import Platform, wait_until
from tidemill.status.v1.status_service_pb2 import ServiceStatus
from tidemill_client import GenerateOptions, NewDocument, Tidemill, text_of
from tidemill_core.errors import InvalidInput, NotFound
from tidemill_core.models.manifest import ArtifactRefused

ASTROLABE = "tidemill.astrolabe\n\nThe astrolabe function finds the latitude of a ship from the stars.\n"
QUERY = "How is the latitude of a ship found?"


@pytest.fixture
async def client(platform: Platform) -> AsyncIterator[Tidemill]:
    async with Tidemill(platform.project, platform.addresses) as tidemill:
        yield tidemill


async def test_a_program_adds_documents_searches_and_asks(client: Tidemill) -> None:
    notes = [
        NewDocument(source="manual", key="client/astrolabe.txt", content=ASTROLABE, metadata={"product": "navigation"}),
        NewDocument(source="manual", key="client/empty.txt", content=b""),
    ]
    uploaded = {each.new.key: each async for each in client.documents.upload_many(notes)}

    async def found() -> bool:
        passages = (await client.search("handbook", QUERY, where={"product": "navigation"})).passages
        return [passage.key for passage in passages] == ["client/astrolabe.txt"]

    await wait_until(found, "the document to be found")
    answer = await client.generate("helpdesk", QUERY, GenerateOptions(request_id="client-1", end_user="u-17"))
    again = await client.generate("helpdesk", QUERY, GenerateOptions(request_id="client-1", end_user="u-17"))
    events = [event async for event in client.generate_stream("helpdesk", QUERY)]

    assert isinstance(uploaded["client/empty.txt"].refused, InvalidInput)
    assert text_of(answer)
    assert (again.id, text_of(again)) == (answer.id, text_of(answer))
    assert [event.WhichOneof("event") for event in (events[0], events[-1])] == ["started", "finished"]
    streamed = "".join(event.delta.text for event in events if event.HasField("delta"))
    assert streamed
    assert answer.id in [inference.id async for inference in client.inferences.all(deployment="helpdesk")]


async def test_a_folder_that_the_registry_has_sends_nothing_and_one_with_code_is_refused(
    client: Tidemill, tmp_path: Path
) -> None:
    version = await client.models.version("minilm")
    (tmp_path / "modeling.py").write_text("import os")

    with pytest.raises(ArtifactRefused, match=r"modeling\.py"):
        await client.models.import_folder("minilm", tmp_path)
    with pytest.raises(NotFound, match="minilm"):
        await client.models.version("nothing")

    assert [found.id async for found in client.models.versions("minilm")] == [version.id]


async def test_every_service_says_that_it_is_ready(client: Tidemill) -> None:
    status = await client.status()

    assert all(isinstance(one, ServiceStatus) and one.ready for one in status.values()), status
