"""Documents in, grounded answers out, through public APIs only."""

import json
from pathlib import Path

import httpx

from tests.system.running import LOOP, Platform, wait_until
from tidemill.ingest.v1.document_service_pb2 import GetDocumentTextRequest
from tidemill.rag.v1.retrieval_service_pb2 import SearchRequest
from tidemill_client.connection import Connection

COMPASS = "tidemill.compass\n\nThe compass function points a ship to the nearest harbour and returns its bearing.\n"
SEXTANT = "tidemill.sextant\n\nThe sextant function measures the height of the sun above the horizon in degrees.\n"


async def found(connection: Connection, query: str) -> dict[str, int]:
    """Return the versions of the documents that a query finds, by key."""
    request = SearchRequest(collection="handbook", query=query, top_k=3)
    passages = (await connection.retrieval.Search(request)).passages
    return {passage.key: passage.version for passage in passages}


def test_applying_the_loop_again_changes_nothing(platform: Platform) -> None:
    again = platform.tidemill("apply", "-f", str(LOOP), "--json")
    difference = platform.tidemill("diff", "-f", str(LOOP), "--json")

    assert (again.code, again.data["changed"]) == (0, 0)
    assert (difference.code, difference.data["changed"]) == (0, 0)


async def test_an_uploaded_document_answers_with_a_citation_that_resolves(
    platform: Platform, connection: Connection, tmp_path: Path
) -> None:
    (tmp_path / "compass.txt").write_text(COMPASS)
    added = platform.tidemill("documents", "add", str(tmp_path), "--recursive", "--below", str(tmp_path), "--json")
    assert added.data["refused"] == {}

    async def searchable() -> bool:
        return "compass.txt" in await found(connection, "Where is the nearest harbour?")

    await wait_until(searchable, "the document to be found")
    answer = platform.tidemill("ask", "What does tidemill.compass do?", "--json").data

    part = answer["output"][0]["parts"][0]
    cited = {citation["passage"] for citation in part["citations"]}
    passages = [passage for passage in answer["passages"] if passage["id"] in cited]
    assert passages
    for passage in passages:
        request = GetDocumentTextRequest(id=passage["document"], version=passage["version"])
        text = (await connection.documents.GetDocumentText(request)).text
        assert text[passage["start"] : passage["end"]] == passage["text"]


async def test_a_published_document_is_found_updated_and_deleted(platform: Platform, connection: Connection) -> None:
    query = "How high is the sun above the horizon?"
    key = "kb/sextant"

    async def version(requested: int) -> bool:
        return (await found(connection, query)).get(key) == requested

    platform.publish({"subject": key, "data": {"media_type": "text/plain", "text": SEXTANT}})
    await wait_until(lambda: version(1), "the first version to be found")
    platform.publish(
        {"subject": key, "data": {"media_type": "text/plain", "text": SEXTANT + "It needs a clear sky.\n"}}
    )
    await wait_until(lambda: version(2), "the second version to be found")
    platform.publish({"subject": key, "deleted": {"reason": "retired"}})

    async def gone() -> bool:
        return key not in await found(connection, query)

    await wait_until(gone, "the deletion to be seen")
    explained = platform.tidemill("documents", "explain", key, "--source", "cms", "--json").data
    assert [step["happened"] for step in explained["steps"]] == ["ingested", "updated", "deleted"]


def test_openai_clients_ask_the_same_deployment(platform: Platform) -> None:
    base_url = f"http://{platform.addresses.http}/v1"
    question = [{"role": "user", "content": "What does tidemill.compass do?"}]
    _, key = platform.api_key()
    authorization = {"Authorization": f"Bearer {key}"}

    raw = httpx.post(
        f"{base_url}/chat/completions",
        headers=authorization,
        json={"model": "helpdesk", "messages": question},
        timeout=60,
    )
    models = httpx.get(f"{base_url}/models", headers=authorization, timeout=10)
    streamed = platform.run(
        "ask_openai.py",
        *("--base-url", base_url, "--deployment", "helpdesk"),
        stdin="What does tidemill.compass do?",
        OPENAI_API_KEY=key,
    )

    assert [model["id"] for model in models.json()["data"]] == ["helpdesk"]
    assert raw.json()["choices"][0]["message"]["content"] == streamed["answer"] != ""


def test_another_project_sees_nothing_of_this_one(platform: Platform) -> None:
    stranger = Platform(platform.folder, platform.addresses, "stranger")

    documents = stranger.tidemill("documents", "list", "--json")
    answer = stranger.tidemill("ask", "What does tidemill.compass do?", "--json")

    assert documents.data["documents"] == []
    assert answer.code == 1
    assert answer.data["error"]["reason"].endswith("NOT_FOUND")


async def test_a_submission_from_a_source_that_are_not_registered_becomes_a_dead_letter(platform: Platform) -> None:
    stranger = Platform(platform.folder, platform.addresses, f"{platform.project}-x")
    stranger.publish({"subject": "kb/lost", "data": {"media_type": "text/plain", "text": "An unknown source."}})

    async def letters() -> list[str]:
        listed = stranger.tidemill("dead-letters", "list", "tidemill.ingest.submissions.dead.v1", "--json").data
        attributes = [letter["attributes"] for letter in listed["dead_letters"]]
        return [each["subject"] for each in attributes if each["project"] == stranger.project]

    assert await wait_until(letters, "the dead letter") == ["kb/lost"]


async def test_an_unsigned_submission_is_a_dead_letter_and_leaves_no_trace_in_its_project(platform: Platform) -> None:
    document = {"media_type": "text/plain", "text": "Forged."}
    platform.publish({"subject": "kb/forged", "data": document}, signed=False)

    async def letters() -> list[str]:
        listed = platform.tidemill("dead-letters", "list", "tidemill.ingest.submissions.dead.v1", "--json").data
        forged = [each for each in listed["dead_letters"] if each["attributes"]["subject"] == "kb/forged"]
        return [each["reason"] for each in forged]

    assert await wait_until(letters, "the dead letter") == ["SIGNATURE_MISSING"]
    assert platform.tidemill("documents", "explain", "kb/forged").code == 1


def test_the_schema_of_the_example_is_the_published_one() -> None:
    from tidemill_cli.loop.declaration import json_schema  # noqa: PLC0415 - only this test needs it

    published = LOOP.with_name("loop.v1.schema.json")
    assert json.loads(published.read_text()) == json_schema()
