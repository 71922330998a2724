"""Ingest on Kafka, MongoDB and S3: what goes in, what comes out, and what must never appear."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from services.ingest.tests.parsing.files import ZIP, zipped
from services.ingest.tests.polling.repositories import served
from services.ingest.tests.process.harness import EVENTS, IngestProcess, Project
from tidemill.ingest.v1 import document_pb2
from tidemill.ingest.v1 import document_service_pb2 as pb
from tidemill.ingest.v1.document_service_pb2_grpc import DocumentServiceStub
from tidemill.ingest.v1.profile_service_pb2 import GetSourceProfileRequest
from tidemill.ingest.v1.source_pb2 import GitOrigin, Polling, Source
from tidemill.ingest.v1.source_service_pb2 import CreateSourceRequest
from tidemill_core.errors import InvalidInput, TidemillError
from tidemill_testkit.access import admin_channel
from tidemill_testkit.crash_suite import outlives_a_kill
from tidemill_testkit.polling import eventually

SECRETS = (
    "ada.lovelace@secret.example",
    "+1 212-555-0199",
    "4111 1111 1111 1111",
    "DE89 3704 0044 0532 0130 00",
    "203.0.113.77",
    "AKIA" + "IOSFODNN7EXAMPLE",
)
UNMASKED = "# For " + SECRETS[0] + "\n\n" + "\n".join(SECRETS)
LIMIT = 900 * 1024


def body(text: str, *, revision: int = 0) -> dict[str, object]:
    return {"media_type": "text/markdown", "text": text, "revision": revision}


async def upload(
    content: bytes, *, key: str, chunk: int = 1024 * 1024, media_type: str = "text/plain"
) -> AsyncIterator[pb.UploadDocumentRequest]:
    spec = pb.DocumentSpec(source="cms", key=key, media_type=media_type)
    yield pb.UploadDocumentRequest(start=pb.UploadStart(spec=spec, size=len(content)))
    for place in range(0, len(content), chunk):
        yield pb.UploadDocumentRequest(chunk=content[place : place + chunk])


async def explained(project: Project, key: str) -> pb.ExplainDocumentResponse:
    return await project.documents.ExplainDocument(pb.ExplainDocumentRequest(source="cms", key=key))


async def test_a_document_by_grpc_is_reported_on_kafka_without_its_text(project: Project) -> None:
    spec = pb.DocumentSpec(source="cms", key="kb/1", media_type="text/html")
    created = await project.documents.CreateDocument(
        pb.CreateDocumentRequest(spec=spec, content=b"<h1>Reset</h1><p>Call +1 212-555-0199</p>", request_id="r1")
    )

    async def is_reported() -> bool:
        return len(await project.events()) == 1

    await eventually(is_reported)
    ((happened, event),) = await project.events()
    assert happened == "ingested"
    assert (event["document"], event["seq"], event["key"]) == (created.document.id, "1", "kb/1")
    assert event["version"]["object"]["key"] == created.document.current.object.key
    assert event["submission"] == {"door": "grpc", "source": "", "id": "r1"}
    text = await project.documents.GetDocumentText(pb.GetDocumentTextRequest(id=created.document.id))
    assert text.text == "# Reset\n\nCall [PHONE]\n"
    assert [step.published for step in (await explained(project, "kb/1")).steps] == [True]


async def test_submissions_duplicated_and_out_of_order_end_where_they_should(project: Project) -> None:
    await project.publish("kb/1", body("two", revision=2), event_id="e2")
    await project.publish("kb/1", body("one", revision=1), event_id="e1")
    await project.publish("kb/1", body("two", revision=2), event_id="e2")
    await project.publish("kb/1", body("three", revision=3), event_id="e3")
    await project.publish("kb/2", b'{"revision": 5}', ce_type="tidemill.ingest.submission.document_deleted.v1")
    await project.publish("kb/2", body("late", revision=4))
    await project.publish("last", body("marker"))

    async def are_all_reported() -> bool:
        return len(await project.events()) >= 4

    await eventually(are_all_reported)
    reported = [(happened, event["key"], event["seq"]) for happened, event in await project.events()]
    assert sorted(reported) == [
        ("deleted", "kb/2", "1"),
        ("ingested", "kb/1", "1"),
        ("ingested", "last", "1"),
        ("updated", "kb/1", "2"),
    ]
    steps = [step.happened for step in (await explained(project, "kb/1")).steps]
    assert steps == ["ingested", "ignored", "ignored", "updated"]
    assert (await explained(project, "kb/2")).document.state == document_pb2.DOCUMENT_STATE_DELETED

    async def is_counted() -> bool:
        return (await project.profiles.GetSourceProfile(GetSourceProfileRequest(source="cms"))).profile.count == 3

    await eventually(is_counted)


async def test_poison_is_dead_lettered_and_rejected_while_the_others_are_taken(project: Project) -> None:
    await project.publish("good/1", body("A"))
    await project.publish("broken", b'{"media_type": "text/plain", "text": "A"')
    await project.publish("unknown-field", {**body("A"), "colour": "red"})
    await project.publish("no-id", body("A"), without="ce_id")
    await project.publish("unregistered", body("A"), ce_source="https://unregistered.example")
    await project.publish("other-type", body("A"), ce_type="tidemill.ingest.submission.something_else.v1")
    await project.publish("empty", body(" "))
    await project.publish("pdf", {"media_type": "application/pdf", "text": "A"})
    await project.publish("good/2", body("A"))

    async def is_done() -> bool:
        events, letters = await project.events(), await project.dead_letters()
        return len(events) == 6 and len(letters) == 4

    await eventually(is_done)
    reported = {event["key"]: (happened, event.get("reason")) for happened, event in await project.events()}
    assert reported == {
        "good/1": ("ingested", None),
        "good/2": ("ingested", None),
        "broken": ("rejected", "INVALID_BODY"),
        "unknown-field": ("rejected", "INVALID_BODY"),
        "empty": ("rejected", "EMPTY_DOCUMENT"),
        "pdf": ("rejected", "UNSUPPORTED_MEDIA_TYPE"),
    }
    letters = await project.dead_letters()
    assert set(letters) == {"broken", "unknown-field", "no-id", "unregistered"}
    assert "colour" in letters["unknown-field"]["tidemill_dead_message"]
    assert letters["unregistered"]["tidemill_dead_reason"] == "EVENTS_NOT_REGISTERED"
    assert letters["no-id"]["tidemill_dead_topic"] == project.topic
    assert letters["no-id"]["tidemill_dead_offset"].isdigit()
    assert (await explained(project, "empty")).document.state == document_pb2.DOCUMENT_STATE_REJECTED


async def test_a_record_and_an_upload_take_their_limits_and_not_a_byte_more(project: Project) -> None:
    frame = len(json.dumps(body("")))
    await project.publish("fits", body("x" * (LIMIT - frame)))
    await project.publish("too-large", body("x" * (LIMIT - frame + 1)))

    async def is_done() -> bool:
        return len(await project.events()) == 2

    await eventually(is_done)
    reported = {event["key"]: (happened, event.get("message", "")) for happened, event in await project.events()}
    assert reported["fits"][0] == "ingested"
    assert reported["too-large"][0] == "rejected"
    assert f"{LIMIT + 1} bytes, and {LIMIT} is the limit" in reported["too-large"][1]
    assert "UploadDocument" in reported["too-large"][1]
    ten_megabytes = b"The quick brown fox jumps. " * (10 * 1024 * 1024 // 27)
    ten_megabytes += b"." * (10 * 1024 * 1024 - len(ten_megabytes))
    uploaded = await project.documents.UploadDocument(upload(ten_megabytes, key="ten"))
    assert uploaded.document.current.object.size > len(ten_megabytes)
    with pytest.raises(InvalidInput, match="10485761 bytes, and 10485760 is the limit"):
        await project.documents.UploadDocument(upload(ten_megabytes + b"x", key="ten"))


async def test_what_is_masked_is_nowhere_but_in_the_submission_itself(ingest: IngestProcess, project: Project) -> None:
    spec = pb.DocumentSpec(source="cms", key="grpc", media_type="text/markdown", uri=f"mailto:{SECRETS[0]}")
    spec.metadata.update({"owner": SECRETS[0]})
    await project.documents.CreateDocument(pb.CreateDocumentRequest(spec=spec, content=UNMASKED.encode()))
    await project.documents.UploadDocument(upload(UNMASKED.encode(), key="upload"))
    with pytest.raises(InvalidInput):
        await project.documents.UploadDocument(upload(UNMASKED.encode() + b"\x81\x00", key="not-text"))
    bad = pb.DocumentSpec(source="cms", key="bad", media_type="text/plain", language=SECRETS[0])
    with pytest.raises(InvalidInput):
        await project.documents.CreateDocument(pb.CreateDocumentRequest(spec=bad, content=UNMASKED.encode()))
    await project.documents.DeleteDocument(
        pb.DeleteDocumentRequest(source="cms", key="upload", delete_reason=f"asked for by {SECRETS[0]}")
    )
    await project.publish("kafka", {**body(UNMASKED), "title": SECRETS[0]})
    await project.publish("refused", {**body(UNMASKED), SECRETS[0]: "unknown"})
    await project.publish("broken", UNMASKED.encode())
    await project.publish("pdf", {"media_type": SECRETS[0], "text": UNMASKED})

    async def is_done() -> bool:
        return len(await project.events()) == 7

    await eventually(is_done)
    seen = {
        "log": ingest.log.read_bytes(),
        "events": json.dumps(await project.events()).encode(),
        "stores": await ingest.everything_stored(),
    }
    for place, found in seen.items():
        assert found, place
        for secret in SECRETS:
            assert secret.encode() not in found, (place, secret)


@dataclass(frozen=True)
class Submissions:
    """Documents that an upstream system publishes."""

    process: IngestProcess
    upstream: Project
    topics: Sequence[str] = (EVENTS,)

    @property
    def project(self) -> str:
        return self.upstream.name

    async def send(self, piece: str) -> None:
        await self.upstream.publish(piece, body(f"The text of {piece}"), event_id=piece)

    async def done(self) -> Sequence[str]:
        async with admin_channel(f"127.0.0.1:{self.process.port}", project=self.project) as channel:
            listed = await DocumentServiceStub(channel).ListDocuments(pb.ListDocumentsRequest(page_size=200))
        return [each.key for each in listed.documents for _ in range(each.current.number)]


async def test_each_file_in_an_archive_becomes_one_version_though_the_process_is_killed(
    ingest: IngestProcess, project: Project
) -> None:
    count = 60
    content = zipped({f"{number}.md": f"# File {number}" for number in range(count)})
    archive = (await project.documents.UploadDocument(upload(content, key="all.zip", media_type=ZIP))).document.id

    async def members() -> Sequence[document_pb2.Document]:
        async with admin_channel(f"127.0.0.1:{ingest.port}", project=project.name) as channel:
            request = pb.ListDocumentsRequest(parent=archive, page_size=200)
            return (await DocumentServiceStub(channel).ListDocuments(request)).documents

    async def has(number: int) -> bool:
        return len(await members()) >= number

    await eventually(lambda: has(3))
    ingest.kill(noticed=True)
    await asyncio.to_thread(ingest.start)
    await eventually(lambda: has(count), despite=(TidemillError,))

    assert [each.version_count for each in await members()] == [1] * count


async def test_each_file_of_a_repository_becomes_one_version_though_the_process_is_killed(
    ingest: IngestProcess, project: Project, tmp_path: Path
) -> None:
    files = {f"{number}.md": f"# File {number}".encode() for number in range(60)}

    async def listed() -> dict[str, int]:
        async with admin_channel(f"127.0.0.1:{ingest.port}", project=project.name) as channel:
            request = pb.ListDocumentsRequest(source="wiki", page_size=200)
            found = (await DocumentServiceStub(channel).ListDocuments(request)).documents
        return {each.key: each.version_count for each in found}

    async def has(number: int) -> bool:
        return len(await listed()) >= number

    with served(tmp_path, by="dulwich") as repository:
        repository.commit(files)
        origin = GitOrigin(url=f"http://127.0.0.1:{repository.port}/kb.git")
        await project.sources.CreateSource(CreateSourceRequest(source=Source(id="wiki", polling=Polling(git=origin))))
        await eventually(lambda: has(3))
        ingest.kill(noticed=True)
        await asyncio.to_thread(ingest.start)
        await eventually(lambda: has(len(files)), despite=(TidemillError,))

    assert await listed() == dict.fromkeys(files, 1)


async def test_each_submission_becomes_one_version_whenever_the_process_is_killed(
    ingest: IngestProcess, project: Project
) -> None:
    await outlives_a_kill(Submissions(ingest, project), pieces=120)
    await asyncio.to_thread(ingest.start)
    assert not await project.dead_letters()
