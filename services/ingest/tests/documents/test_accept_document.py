from dataclasses import replace
from typing import Any

import pytest

from services.ingest.tests.fakes import ACME, QUARANTINE, Ingest, deletion, spec, submitted
from tidemill_core.application import Caller, derived_id
from tidemill_core.errors import Conflict, DependencyUnavailable, InvalidInput, RequestIdReused
from tidemill_ingest.documents.domain.document import Document, DocumentState
from tidemill_ingest.documents.domain.events import DocumentIngested, DocumentUpdated
from tidemill_ingest.documents.domain.steps import DocumentStep
from tidemill_ingest.documents.domain.submission import Fact, Submission, SubmissionChannel
from tidemill_ingest.documents.mongo import DOCUMENTS
from tidemill_ingest.errors import DocumentNotFound, DocumentRefused, SourceNotFound
from tidemill_ingest.limits import Limits
from tidemill_ingest.masking.kinds import Masking
from tidemill_ingest.sources.domain import Source
from tidemill_testkit.stores import InMemoryAggregates


def current_number(document: Document) -> int:
    assert document.current is not None
    return document.current.number


async def text_of(ingest: Ingest, document: Document, number: int = 0) -> str:
    found, _ = await ingest.reading.text(ACME, document.id, number=number)
    return found.text


async def test_a_first_version_is_stored_masked_and_reported() -> None:
    ingest = await Ingest().with_source()

    document = await ingest.accept(ACME, submitted("# Reset\n\nWrite to ada@acme.example."))

    assert document.id == derived_id("acme", "cms", "kb/1")
    assert document.state is DocumentState.ACTIVE
    assert document.current is not None
    assert document.current.title == "Reset"
    assert document.current.provenance.masked == {"email": 1}
    assert await text_of(ingest, document) == "# Reset\n\nWrite to [EMAIL]."
    assert [type(event) for event in ingest.documents.published] == [DocumentIngested]
    assert ingest.quarantined() == []


async def test_what_is_said_about_a_document_is_cleaned_and_masked_as_its_text_is() -> None:
    ingest = await Ingest().with_source()
    said = spec(title="one\ntwo\u202eevil\x00 \x1b]0;x jane.roe\u200e@example.com")
    facts: dict[str, Fact] = {
        "owner": "jane\u200d@example.com",
        "note": "a\x00b\u2066c",
        "pan": 4111111111111111.0,
        "size": 7.0,
    }
    said = replace(said, uri="https://acme.example/?to=jane%40example.com\x07", metadata=facts)

    document = await ingest.accept(ACME, submitted("A", of=said))

    assert document.current is not None
    assert document.current.title == "one twoevil ]0;x [EMAIL]"
    assert document.current.uri == "https://acme.example/?to=[EMAIL]"
    assert document.current.metadata == {"owner": "[EMAIL]", "note": "abc", "pan": "[CARD]", "size": 7.0}
    assert document.current.provenance.masked == {"card": 1, "email": 3}


async def test_other_content_makes_the_next_version_and_a_b_a_makes_three() -> None:
    ingest = await Ingest().with_source()

    documents = [await ingest.accept(ACME, submitted(text)) for text in ("A", "B", "A")]

    document = documents[-1]
    assert current_number(document) == 3
    assert [await text_of(ingest, document, number) for number in (1, 2, 3)] == ["A", "B", "A"]
    assert [type(event) for event in ingest.documents.published[1:]] == [DocumentUpdated, DocumentUpdated]


async def test_the_same_content_again_makes_no_version() -> None:
    ingest = await Ingest().with_source()

    await ingest.accept(ACME, submitted("A"))
    document = await ingest.accept(ACME, submitted("A"))

    assert current_number(document) == 1
    assert len(ingest.documents.published) == 1
    assert document.steps[-1].happened is DocumentStep.IGNORED


async def test_the_same_text_for_other_readers_is_another_version() -> None:
    ingest = await Ingest().with_source()

    await ingest.accept(ACME, submitted("A"))
    document = await ingest.accept(ACME, submitted("A", of=replace(spec(), readers=("group:support",))))

    assert current_number(document) == 2


@pytest.mark.parametrize("revision", [0, 7])
async def test_the_same_content_is_masked_again_once_its_source_masks_otherwise(revision: int) -> None:
    ingest = await Ingest().with_source(Source(id="cms", project="acme", masking=Masking.of([], none=True)))
    document = await ingest.accept(ACME, submitted("ada@acme.example", of=spec(revision=revision)))
    assert await text_of(ingest, document) == "ada@acme.example"

    await ingest.sources.update("acme", "cms", _mask_all, request=submitted("").request)
    document = await ingest.accept(ACME, submitted("ada@acme.example", of=spec(revision=revision)))
    again = await ingest.accept(ACME, submitted("ada@acme.example", of=spec(revision=revision)))

    assert await text_of(ingest, document) == "[EMAIL]"
    assert current_number(again) == 2


def _mask_all(source: Source) -> None:
    source.masking = Masking()


async def test_a_higher_revision_wins_whatever_arrives_last() -> None:
    ingest = await Ingest().with_source()

    await ingest.accept(ACME, submitted("new", of=spec(revision=7)))
    document = await ingest.accept(ACME, submitted("old", of=spec(revision=6)))

    assert await text_of(ingest, document) == "new"
    assert document.steps[-1].message == "revision 6 is not above 7, the highest one seen"
    assert len(ingest.texts_stored()) == 1


async def test_a_higher_revision_of_the_same_content_keeps_older_ones_out() -> None:
    ingest = await Ingest().with_source()
    await ingest.accept(ACME, submitted("A", of=spec(revision=1)))
    await ingest.accept(ACME, submitted("A", of=spec(revision=9)))

    document = await ingest.accept(ACME, submitted("B", of=spec(revision=5)))

    assert await text_of(ingest, document) == "A"
    assert document.revision == 9


async def test_the_same_request_again_has_one_effect() -> None:
    ingest = await Ingest().with_source()

    first = await ingest.accept(ACME, submitted("A", request_id="r1"))
    await ingest.accept(ACME, submitted("B"))
    again = await ingest.accept(ACME, submitted("A", request_id="r1"))

    assert current_number(first) == 1
    assert current_number(again) == 2
    assert len(ingest.documents.published) == 2


async def test_the_same_request_id_with_another_body_is_an_error() -> None:
    ingest = await Ingest().with_source()
    await ingest.accept(ACME, submitted("A", request_id="r1"))

    with pytest.raises(RequestIdReused):
        await ingest.accept(ACME, submitted("B", request_id="r1"))

    assert len(ingest.documents.published) == 1


async def test_a_deleted_document_comes_back_with_the_next_number() -> None:
    ingest = await Ingest().with_source()
    await ingest.accept(ACME, submitted("A", of=spec(revision=1)))
    await ingest.delete(ACME, deletion(revision=2))

    document = await ingest.accept(ACME, submitted("A", of=spec(revision=3)))

    assert current_number(document) == 2
    assert [type(event).__name__ for event in ingest.documents.published] == [
        "DocumentIngested",
        "DocumentDeleted",
        "DocumentIngested",
    ]


async def test_checking_only_stores_nothing_and_finds_the_same_mistakes() -> None:
    ingest = await Ingest().with_source()

    preview = await ingest.accept(ACME, replace(submitted("# Title\n\nA"), validate_only=True))
    with pytest.raises(DocumentRefused):
        await ingest.accept(ACME, replace(submitted(b"\xff\xfe\x00"), validate_only=True))

    assert preview.current is not None
    assert preview.current.title == "Title"
    assert ingest.texts_stored() == []
    with pytest.raises(DocumentNotFound):
        await ingest.documents.get("acme", preview.id)


async def test_an_update_needs_a_document_and_a_fitting_etag() -> None:
    ingest = await Ingest().with_source()
    with pytest.raises(DocumentNotFound):
        await ingest.accept(ACME, replace(submitted("A"), must_exist=True))
    created = await ingest.accept(ACME, submitted("A"))
    with pytest.raises(Conflict):
        await ingest.accept(ACME, replace(submitted("B"), must_exist=True, etag="99"))

    update = replace(submitted("B", request_id="r1"), must_exist=True, etag=str(created.version))
    document = await ingest.accept(ACME, update)
    retried = await ingest.accept(ACME, update)

    assert current_number(document) == current_number(retried) == 2
    assert len(ingest.documents.published) == 2


@pytest.mark.parametrize(
    ("content", "reason", "words"),
    [
        (b"", "EMPTY_DOCUMENT", "0 bytes"),
        (b" \n\t ", "EMPTY_DOCUMENT", "no text"),
        (b"\x00\x01binary", "NOT_TEXT", "NUL"),
        (b"caf\xe9", "NOT_TEXT", "byte at 3"),
        ("héllo".encode("utf-16")[:-1], "NOT_TEXT", "utf-16"),
    ],
)
async def test_bytes_that_hold_no_text_are_refused_and_nothing_is_stored(
    content: bytes, reason: str, words: str
) -> None:
    ingest = await Ingest().with_source()

    with pytest.raises(DocumentRefused, match=words) as refused:
        await ingest.accept(ACME, submitted(content))

    assert refused.value.reason == reason
    assert refused.value.violations[0].field == "content"
    assert ingest.texts_stored() == ingest.quarantined() == []
    assert ingest.documents.published == []


async def test_an_unsupported_type_is_refused_by_its_name() -> None:
    ingest = await Ingest().with_source()

    with pytest.raises(DocumentRefused, match=r"application/msword.*text/plain, text/markdown, text/html"):
        await ingest.accept(ACME, submitted("A", of=spec(media_type="application/msword")))


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("channel", "limit", "hint"),
    [(SubmissionChannel.GRPC, 40, "UploadDocument"), (SubmissionChannel.UPLOAD, 80, "split it")],
)
async def test_each_api_takes_its_limit_and_not_a_byte_more(channel: SubmissionChannel, limit: int, hint: str) -> None:
    ingest = await Ingest(limits=Limits(inline_bytes=40, document_bytes=80)).with_source()
    submission = Submission(door=channel, id="s")

    await ingest.accept(ACME, replace(submitted("x" * limit), submission=submission))
    with pytest.raises(DocumentRefused, match=f"{limit + 1} bytes, and {limit} is the limit: .*{hint}"):
        await ingest.accept(ACME, replace(submitted("x" * (limit + 1)), submission=submission))


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("key", "k" * 1024, "k" * 1025),
        ("key", "kb 1", "kb\n1"),
        ("key", "k", " "),
        ("key", "\u062e\u0627\u0646\u0647\u200c\u0647\u0627.txt", "a\u202eb"),
        ("key", "\U0001f468\u200d\U0001f469\u200d\U0001f467 family.md", "a\u2066b"),
        ("key", "a\u00a0b\u200e.txt", "a\x9bb"),
        ("title", "t" * 500, "t" * 501),
        ("uri", "u" * 2048, "u" * 2049),
        ("uri", "https://wiki.acme.example/a:b", "javascript:alert(1)"),
        ("uri", "mailto:desk@acme.example", " java\tscript:alert(1)"),
        ("uri", "/kb/1?at=10:30", "J\u200bavaScript:alert(1)"),
        ("uri", "HTTP://acme.example", "data:text/html,x"),
        ("language", "de-CH", "de_CH"),
        ("readers", ("r" * 200,) * 100, ("r",) * 101),
        ("readers", ("group:a",), (" ",)),
        ("metadata", {f"k{n}": n * 1.0 for n in range(64)}, {f"k{n}": 1.0 for n in range(65)}),
        ("metadata", {"a": "v" * 1024}, {"a": "v" * 1025}),
        ("metadata", {"a.b-c_d": True}, {"a b": True}),
        ("metadata", {"n": 2.0**53}, {"n": 2.0**54}),
        ("metadata", {}, {"n": float("nan")}),
        ("metadata", {f"k{n}": "v" * 1000 for n in range(15)}, {f"k{n}": "v" * 1000 for n in range(17)}),
        ("revision", 2**62, -1),
    ],
)
async def test_what_is_said_about_a_document_has_limits_on_both_sides(field: str, good: object, bad: object) -> None:
    ingest = await Ingest().with_source()

    right: dict[str, Any] = {field: good}
    wrong: dict[str, Any] = {field: bad}

    await ingest.accept(ACME, submitted("A", of=replace(spec(), **right)))
    with pytest.raises(InvalidInput) as refused:
        await ingest.accept(ACME, submitted("A", of=replace(spec(), **wrong)))

    assert refused.value.violations[0].field.startswith(field)


async def test_another_project_has_neither_the_source_nor_the_document() -> None:
    ingest = await Ingest().with_source()
    document = await ingest.accept(ACME, submitted("A"))

    with pytest.raises(SourceNotFound):
        await ingest.accept(Caller(project="other"), submitted("A"))
    with pytest.raises(DocumentNotFound):
        await ingest.documents.get("other", document.id)


async def test_a_document_remembers_only_so_many_versions_and_steps() -> None:
    ingest = await Ingest(limits=Limits(kept_versions=2, kept_steps=3)).with_source()

    documents = [await ingest.accept(ACME, submitted(f"text {number}")) for number in range(5)]

    document = documents[-1]
    assert [version.number for version in document.versions] == [4, 5]
    assert document.version_count == 5
    assert len(document.steps) == 3


async def test_a_submission_that_is_ignored_again_and_again_takes_one_step() -> None:
    ingest = await Ingest().with_source()

    documents = [await ingest.accept(ACME, submitted("A")) for _ in range(4)]

    steps = documents[-1].steps
    assert [(step.happened, step.times) for step in steps] == [(DocumentStep.INGESTED, 1), (DocumentStep.IGNORED, 3)]


async def test_a_crash_after_the_put_leaves_quarantine_empty_and_the_retry_succeeds() -> None:
    ingest = await Ingest().with_source()

    async def fails(*_args: object, **_kwargs: object) -> Document:
        message = "gone"
        raise DependencyUnavailable(message, dependency="mongodb")

    save, ingest.documents.add = ingest.documents.add, fails  # type: ignore[method-assign]  # a crash
    with pytest.raises(DependencyUnavailable):
        await ingest.accept(ACME, submitted("A", request_id="r1"))
    ingest.documents.add = save  # type: ignore[method-assign]  # and the recovery
    document = await ingest.accept(ACME, submitted("A", request_id="r1"))

    assert await text_of(ingest, document) == "A"
    assert ingest.quarantined() == []


async def test_bytes_without_members_are_stored_nowhere_before_they_are_masked() -> None:
    ingest = await Ingest().with_source()
    del ingest.objects.buckets[QUARANTINE]

    document = await ingest.accept(ACME, submitted("Write to ada@acme.example."))

    assert await text_of(ingest, document) == "Write to [EMAIL]."
    (stored,) = [data for objects in ingest.objects.buckets.values() for data in objects.values()]
    assert b"ada@acme.example" not in stored


class _Unseen(InMemoryAggregates[Document]):
    """The documents of another store, not found before they are saved: another submission is just as far."""

    def __init__(self, documents: InMemoryAggregates[Document]) -> None:
        super().__init__(codec=DOCUMENTS, missing=DocumentNotFound)
        self.__dict__ = dict(documents.__dict__)

    async def get(self, project: str, aggregate_id: str) -> Document:  # noqa: ARG002 - whichever it is
        raise DocumentNotFound(aggregate_id)


async def test_a_document_that_two_submissions_make_at_the_same_time_gets_a_version_of_each() -> None:
    ingest = await Ingest().with_source()
    racing = replace(ingest.accept, documents=_Unseen(ingest.documents))

    await racing(ACME, submitted("A", request_id="r1"))
    await racing(ACME, submitted("B", request_id="r2"))
    again = await racing(ACME, submitted("A", request_id="r1"))

    assert [version.number for version in again.versions] == [1, 2]
    assert await text_of(ingest, again) == "B"
