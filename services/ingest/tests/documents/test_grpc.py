import asyncio
import hashlib
from collections.abc import AsyncIterator

import pytest
from google.protobuf.struct_pb2 import Struct

from services.ingest.tests.conftest import ApiClient
from services.ingest.tests.fakes import EXCHANGE, QUARANTINE
from services.ingest.tests.parsing.files import PDF, ZIP, pdf, zipped
from tidemill.content.v1 import content_pb2
from tidemill.ingest.v1 import document_pb2
from tidemill.ingest.v1 import document_service_pb2 as pb
from tidemill_core.errors import (
    Conflict,
    DeadlineExceeded,
    DependencyTimedOut,
    InvalidInput,
    NotFound,
    RateLimited,
    RequestIdReused,
    Unauthenticated,
)
from tidemill_testkit.polling import eventually


def spec(key: str = "kb/1", *, media_type: str = "text/markdown", revision: int = 0) -> pb.DocumentSpec:
    return pb.DocumentSpec(source="cms", key=key, media_type=media_type, revision=revision)


def creating(
    text: str, *, key: str = "kb/1", request_id: str = "", validate_only: bool = False
) -> pb.CreateDocumentRequest:
    return pb.CreateDocumentRequest(
        spec=spec(key), content=text.encode(), request_id=request_id, validate_only=validate_only
    )


async def parts(  # noqa: PLR0913 - what a start says
    content: bytes, *, size: int = 0, sha256: str = "", request_id: str = "", chunk: int = 300, media_type: str = ""
) -> AsyncIterator[pb.UploadDocumentRequest]:
    start = pb.UploadStart(spec=spec(), size=size, sha256=sha256, request_id=request_id)
    start.spec.media_type = media_type or start.spec.media_type
    yield pb.UploadDocumentRequest(start=start)
    for place in range(0, len(content), chunk):
        yield pb.UploadDocumentRequest(chunk=content[place : place + chunk])


async def _chunk_first() -> AsyncIterator[pb.UploadDocumentRequest]:
    yield pb.UploadDocumentRequest(chunk=b"abc")


async def _empty_chunk() -> AsyncIterator[pb.UploadDocumentRequest]:
    async for part in parts(b"abc"):
        yield part
    yield pb.UploadDocumentRequest(chunk=b"")


async def _two_starts() -> AsyncIterator[pb.UploadDocumentRequest]:
    for _ in range(2):
        yield pb.UploadDocumentRequest(start=pb.UploadStart(spec=spec()))


async def test_a_document_goes_in_and_comes_out_masked(client: ApiClient) -> None:
    metadata = Struct()
    metadata.update({"product": "vpn", "pages": 3, "draft": False, "owner": "ada@acme.example"})
    described = spec()
    described.metadata.CopyFrom(metadata)

    created = await client.documents.CreateDocument(
        pb.CreateDocumentRequest(spec=described, content=b"# Hello\n\nCall +1 212-555-0123.")
    )
    found = await client.documents.GetDocument(pb.GetDocumentRequest(source="cms", key="kb/1"))
    text = await client.documents.GetDocumentText(pb.GetDocumentTextRequest(id=created.document.id))

    assert found.document == created.document
    assert found.document.state == document_pb2.DOCUMENT_STATE_ACTIVE
    assert found.document.current.title == "Hello"
    assert found.document.current.metadata["owner"] == "[EMAIL]"
    assert found.document.current.metadata["pages"] == 3
    assert dict(found.document.current.provenance.masked) == {"email": 1, "phone": 1}
    assert found.document.current.provenance.door == "grpc"
    assert text.text == "# Hello\n\nCall [PHONE]."
    assert text.version == found.document.current


async def test_calls_without_a_project_are_refused(client: ApiClient) -> None:
    with pytest.raises(Unauthenticated, match="tidemill-project"):
        await client.unauthenticated.CreateDocument(creating("A"))


async def test_a_retried_request_has_one_effect_and_another_body_is_refused(client: ApiClient) -> None:
    first = await client.documents.CreateDocument(creating("A", request_id="r1"))
    again = await client.documents.CreateDocument(creating("A", request_id="r1"))

    assert first == again
    with pytest.raises(RequestIdReused):
        await client.documents.CreateDocument(creating("B", request_id="r1"))


async def test_an_inline_document_has_a_limit_on_both_sides(client: ApiClient) -> None:
    await client.documents.CreateDocument(creating("x" * 100))
    with pytest.raises(InvalidInput, match="101 bytes, and 100 is the limit: send it with UploadDocument") as refused:
        await client.documents.CreateDocument(creating("x" * 101))

    assert refused.value.reason == "DOCUMENT_TOO_LARGE"
    assert [violation.field for violation in refused.value.violations] == ["content"]


async def test_an_update_needs_what_it_changes_and_minds_the_etag(client: ApiClient) -> None:
    update = pb.UpdateDocumentRequest(spec=spec(), content=b"B")
    with pytest.raises(NotFound):
        await client.documents.UpdateDocument(update)
    created = await client.documents.CreateDocument(creating("A"))

    update.etag = created.document.etag
    updated = await client.documents.UpdateDocument(update)

    assert updated.document.current.number == 2
    update.content = b"C"
    with pytest.raises(Conflict):
        await client.documents.UpdateDocument(update)


async def test_checking_only_answers_as_if_and_stores_nothing(client: ApiClient) -> None:
    response = await client.documents.CreateDocument(creating("# T\n\nA", validate_only=True))

    assert response.document.current.title == "T"
    assert not response.document.current.HasField("object")
    assert client.ingest.objects.buckets == {QUARANTINE: {}, EXCHANGE: {}}


async def test_a_request_without_its_spec_or_with_nested_metadata_is_refused(client: ApiClient) -> None:
    nested = creating("A")
    nested.spec.metadata.update({"a": {"b": "c"}})

    with pytest.raises(InvalidInput, match="spec: is missing"):
        await client.documents.CreateDocument(pb.CreateDocumentRequest(content=b"A"))
    with pytest.raises(InvalidInput, match=r"metadata\[a\]: .*flat"):
        await client.documents.CreateDocument(nested)


async def test_documents_are_listed_a_page_at_a_time(client: ApiClient) -> None:
    for number in range(5):
        await client.documents.CreateDocument(creating("A", key=f"kb/{number}"))

    first = await client.documents.ListDocuments(pb.ListDocumentsRequest(page_size=3))
    second = await client.documents.ListDocuments(
        pb.ListDocumentsRequest(page_size=3, page_token=first.next_page_token)
    )

    keys = [document.key for page in (first, second) for document in page.documents]
    assert sorted(keys) == [f"kb/{number}" for number in range(5)]
    assert second.next_page_token == ""
    created_elsewhere = "x"
    for wrong in (pb.ListDocumentsRequest(page_size=-1), pb.ListDocumentsRequest(page_token=created_elsewhere)):
        with pytest.raises(InvalidInput):
            await client.documents.ListDocuments(wrong)


async def test_a_deleted_document_explains_its_whole_way(client: ApiClient) -> None:
    await client.documents.CreateDocument(creating("A"))
    await client.documents.CreateDocument(creating("A"))
    await client.documents.DeleteDocument(pb.DeleteDocumentRequest(source="cms", key="kb/1", delete_reason="old"))
    client.ingest.outbox.seqs = frozenset({2})

    explained = await client.documents.ExplainDocument(pb.ExplainDocumentRequest(key="kb/1"))

    assert [(step.happened, step.published) for step in explained.steps] == [
        ("ingested", True),
        ("ignored", False),
        ("deleted", False),
    ]
    assert explained.steps[2].message == "old"
    assert explained.document.state == document_pb2.DOCUMENT_STATE_DELETED


async def test_a_deletion_with_a_revision_leaves_a_tombstone_of_what_never_came(client: ApiClient) -> None:
    with pytest.raises(NotFound):
        await client.documents.DeleteDocument(pb.DeleteDocumentRequest(source="cms", key="kb/1"))

    deleted = await client.documents.DeleteDocument(pb.DeleteDocumentRequest(source="cms", key="kb/1", revision=9))

    assert deleted.document.state == document_pb2.DOCUMENT_STATE_DELETED
    assert deleted.document.version_count == 0


async def test_an_upload_takes_its_limit_in_chunks_and_not_a_byte_more(client: ApiClient) -> None:
    content = b"x" * 1000
    digest = hashlib.sha256(content).hexdigest()

    uploaded = await client.documents.UploadDocument(parts(content, size=1000, sha256=digest))
    with pytest.raises(InvalidInput, match="1001 bytes, and 1000 is the limit"):
        await client.documents.UploadDocument(parts(content + b"x"))
    with pytest.raises(InvalidInput, match=r"start.size: has 1001 bytes, and 1000 is the limit"):
        await client.documents.UploadDocument(parts(b"", size=1001))

    assert uploaded.document.current.provenance.door == "upload"
    assert uploaded.document.version_count == 1


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        (lambda: parts(b"abc", size=4), "is 4, but 3 bytes were received"),
        (lambda: parts(b"abc", sha256="0" * 64), "sha256: does not match the received bytes"),
        (lambda: parts(b""), "0 bytes"),
        (_chunk_first, "send it in the first message"),
        (_two_starts, "only the first is a start"),
        (lambda: parts(b"x" * (1024 * 1024 + 1), chunk=2 * 1024 * 1024), "send smaller ones"),
        (_empty_chunk, "is empty: send bytes"),
    ],
)
async def test_a_stream_that_is_not_what_it_says_leaves_nothing(client: ApiClient, stream: object, words: str) -> None:
    assert callable(stream)
    with pytest.raises(InvalidInput, match=words):
        await client.documents.UploadDocument(stream())

    assert client.ingest.objects.buckets == {QUARANTINE: {}, EXCHANGE: {}}
    assert client.ingest.documents.published == []


async def test_an_upload_that_pauses_too_long_or_breaks_off_leaves_nothing_and_frees_its_place(
    client: ApiClient,
) -> None:
    async def pausing() -> AsyncIterator[pb.UploadDocumentRequest]:
        async for part in parts(b"abc", chunk=1):
            if part.chunk == b"c":  # what breaks off after its last byte may have been whole
                await asyncio.Event().wait()
            yield part

    for _ in range(2):
        with pytest.raises(DeadlineExceeded, match="upload it again"):
            await client.documents.UploadDocument(pausing())
        broken = asyncio.ensure_future(client.documents.UploadDocument(pausing(), timeout=0.2))
        with pytest.raises(DependencyTimedOut):
            await broken

    assert client.ingest.objects.buckets == {QUARANTINE: {}, EXCHANGE: {}}
    assert (await client.documents.UploadDocument(parts(b"abc"))).document.version_count == 1


async def test_a_pdf_is_uploaded_and_read_with_the_anchors_of_its_pages(client: ApiClient) -> None:
    content = pdf([("Fourteen weeks.", 11)])
    uploaded = await client.documents.UploadDocument(parts(content, chunk=400, media_type=PDF))

    found = await client.documents.GetDocumentText(pb.GetDocumentTextRequest(id=uploaded.document.id))

    assert (found.text, found.version.media_type) == ("Fourteen weeks.", "text/markdown")
    assert list(found.anchors) == [document_pb2.Anchor(kind=content_pb2.ANCHOR_KIND_PAGE, number=1)]


async def test_a_refused_upload_that_goes_on_receives_why_and_not_that_it_was_slow(client: ApiClient) -> None:
    async def wrong_and_open() -> AsyncIterator[pb.UploadDocumentRequest]:
        yield pb.UploadDocumentRequest(chunk=b"abc")
        await asyncio.Event().wait()

    with pytest.raises(InvalidInput, match="send it in the first message"):
        await client.documents.UploadDocument(wrong_and_open())
    with pytest.raises(InvalidInput, match="1000 is the limit"):
        await client.documents.UploadDocument(parts(b"x" * 100_000))


async def test_an_upload_that_drips_for_ever_ends_in_time(client: ApiClient) -> None:
    async def dripping() -> AsyncIterator[pb.UploadDocumentRequest]:
        async for part in parts(b"x" * 100, chunk=1):
            yield part
            await asyncio.sleep(0.1)

    with pytest.raises(DeadlineExceeded, match="took more than 3 s"):
        await client.documents.UploadDocument(dripping())

    assert client.ingest.objects.buckets == {QUARANTINE: {}, EXCHANGE: {}}


async def test_one_project_takes_half_of_the_places_and_leaves_the_others_to_the_rest(client: ApiClient) -> None:
    gate = asyncio.Event()

    async def held() -> AsyncIterator[pb.UploadDocumentRequest]:
        async for part in parts(b"abc"):
            yield part
        await gate.wait()

    crowd = [asyncio.ensure_future(client.documents.UploadDocument(held())) for _ in range(3)]
    shares = client.uploads._places._projects  # noqa: SLF001 - published nowhere else
    await eventually(lambda: [share.streams for share in shares.values()] == [3])
    with pytest.raises(RateLimited, match="3 uploads of the project are in progress"):
        await client.documents.UploadDocument(parts(b"abc"))
    with pytest.raises(NotFound):  # globex has no such source, which it learns at once
        await client.globex.UploadDocument(parts(b"abc"), timeout=2)
    gate.set()

    assert len(await asyncio.gather(*crowd)) == 3


async def test_an_upload_sent_again_has_one_effect_and_with_other_bytes_is_refused(client: ApiClient) -> None:
    first = await client.documents.UploadDocument(parts(b"abc", request_id="r1"))
    again = await client.documents.UploadDocument(parts(b"abc", request_id="r1"))

    assert first == again
    with pytest.raises(RequestIdReused):
        await client.documents.UploadDocument(parts(b"abd", request_id="r1"))


async def test_what_is_inside_of_a_document_is_shown_with_it(client: ApiClient) -> None:
    upload = parts(zipped({"a.md": "A"}), media_type=ZIP)
    created = (await client.documents.UploadDocument(upload)).document
    got = await client.documents.GetDocument(pb.GetDocumentRequest(id=created.id))
    assert [(each.path, each.state) for each in got.members] == [("a.md", document_pb2.MEMBER_STATE_PENDING)]

    await client.ingest.unpack_all()

    explained = await client.documents.ExplainDocument(pb.ExplainDocumentRequest(id=created.id))
    (member,) = explained.members
    assert (member.key, member.state, explained.document.member_count) == (
        "kb/1!/a.md", document_pb2.MEMBER_STATE_STORED, 1,
    )  # fmt: skip
    (inside,) = (await client.documents.ListDocuments(pb.ListDocumentsRequest(parent=created.id))).documents
    assert (inside.id, inside.parent, inside.current.provenance.door) == (member.document, created.id, "member")
