"""Documents whose text is that of another one of the project, or nearly."""

from dataclasses import replace
from datetime import timedelta

import pytest

from services.ingest.tests.conftest import ApiClient
from services.ingest.tests.fakes import ACME, Ingest, deletion, spec, submitted
from tidemill.ingest.v1 import document_service_pb2 as pb
from tidemill.ingest.v1 import source_service_pb2
from tidemill.ingest.v1.source_pb2 import DUPLICATE_POLICY_KEEP
from tidemill.ingest.v1.source_pb2 import Quality as QualityMessage
from tidemill.ingest.v1.source_pb2 import Source as SourceMessage
from tidemill_core.application import Caller, Request
from tidemill_core.resources import Write
from tidemill_ingest.documents.domain.document import Document, DocumentState
from tidemill_ingest.documents.domain.submission import DocumentName
from tidemill_ingest.errors import DocumentRefused
from tidemill_ingest.quality.policy import Duplicate, DuplicatePolicy, Quality
from tidemill_ingest.sources.domain import Source

WORDS = [f"word{number}" for number in range(100)]
TEXT = " ".join(WORDS)
SIMILAR = " ".join([*WORDS[:50], "another", *WORDS[51:]])
OTHER = " ".join(reversed(WORDS))


def source(policy: DuplicatePolicy | None, *, name: str = "cms", similarity: float = 0.0) -> Source:
    return Source(id=name, project="acme", quality=Quality(duplicates=policy, min_similarity=similarity))


async def comparing(policy: DuplicatePolicy) -> Ingest:
    return await Ingest().with_source(source(policy))


async def submit(ingest: Ingest, text: str, key: str, **said: object) -> Document:
    ingest.clock.advance(timedelta(seconds=1))
    return await ingest.accept(ACME, submitted(text, of=replace(spec(key), **said)))  # type: ignore[arg-type]  # fields


async def read(ingest: Ingest, document: Document) -> Document:
    return await ingest.reading.get(ACME, DocumentName(id=document.id))


async def check_all(ingest: Ingest) -> None:
    """Do all that is due, and what becomes due by that."""
    for _ in range(5):
        ingest.clock.advance(timedelta(minutes=20))
        for project, document in list(ingest.fingerprints.checks):
            await ingest.judge_duplicates(project, document)
    assert not ingest.fingerprints.checks


def published(ingest: Ingest) -> list[str]:
    return [type(event).__name__.removeprefix("Document") for event in ingest.documents.published]


async def test_a_source_that_declares_nothing_compares_nothing() -> None:
    ingest = await Ingest().with_source()

    await submit(ingest, TEXT, "a")
    document = await submit(ingest, TEXT, "b")

    assert document.state is DocumentState.ACTIVE
    assert document.newest is not None
    assert document.newest.duplicate is None
    assert not ingest.fingerprints.records


async def test_a_duplicate_that_is_kept_says_of_which_document_and_how_similar() -> None:
    ingest = await comparing(DuplicatePolicy.KEEP)

    first = await submit(ingest, TEXT, "a")
    equal, similar, other = [await submit(ingest, text, text[:9]) for text in (TEXT, SIMILAR, OTHER)]

    assert [each.state for each in (equal, similar, other)] == [DocumentState.ACTIVE] * 3
    assert equal.newest is not None
    assert similar.newest is not None
    assert other.newest is not None
    assert equal.newest.duplicate == Duplicate(document=first.id, similarity=1.0, exact=True)
    assert similar.newest.duplicate == Duplicate(document=first.id, similarity=91 / 101, exact=False)
    assert other.newest.duplicate is None


async def test_a_linked_duplicate_is_withheld_until_its_original_goes() -> None:
    ingest = await comparing(DuplicatePolicy.LINK)
    first = await submit(ingest, TEXT, "a")
    second = await submit(ingest, SIMILAR, "b")
    third = await submit(ingest, TEXT, "c")
    await check_all(ingest)

    assert second.withheld is not None
    assert [(each.reason, each.limit) for each in second.withheld.withheld] == [("NEAR_DUPLICATE", "link")]
    assert first.id in second.withheld.withheld[0].value
    await ingest.delete(ACME, deletion(key="a"))
    await check_all(ingest)

    second, third = await read(ingest, second), await read(ingest, third)
    assert second.state is DocumentState.ACTIVE
    assert second.newest is not None
    assert second.newest.duplicate is None
    assert third.withheld is not None
    assert third.withheld.duplicate is not None
    assert third.withheld.duplicate.document == second.id
    assert published(ingest) == ["Ingested", "Rejected", "Rejected", "Deleted", "Ingested"]


async def test_a_rejected_duplicate_is_refused_and_nothing_of_it_is_stored() -> None:
    ingest = await comparing(DuplicatePolicy.REJECT)
    first = await submit(ingest, TEXT, "a")

    with pytest.raises(DocumentRefused, match=f"has 0.90 in common with document {first.id}") as refused:
        await submit(ingest, SIMILAR, "b")
    with pytest.raises(DocumentRefused, match="has the text of document") as equal:
        await ingest.accept(ACME, replace(submitted(TEXT, of=spec("c")), validate_only=True))

    assert (refused.value.reason, equal.value.reason) == ("NEAR_DUPLICATE", "DUPLICATE")
    assert len(ingest.texts_stored()) == len(ingest.fingerprints.records) == 1


async def test_an_original_with_another_text_gives_its_place_to_the_first_duplicate() -> None:
    ingest = await comparing(DuplicatePolicy.LINK)
    first = await submit(ingest, TEXT, "a")
    second = await submit(ingest, TEXT, "b")

    await submit(ingest, OTHER, "a")
    await check_all(ingest)

    assert (await read(ingest, second)).state is DocumentState.ACTIVE
    assert sorted(each.document for each in ingest.fingerprints.records.values()) == sorted([first.id, second.id])


async def test_a_document_is_no_duplicate_of_its_own_earlier_text() -> None:
    ingest = await comparing(DuplicatePolicy.LINK)
    await submit(ingest, TEXT, "a")

    document = await submit(ingest, SIMILAR, "a")

    assert document.state is DocumentState.ACTIVE
    assert document.version_count == 2


async def test_an_original_that_readers_of_the_duplicate_may_not_read_is_none() -> None:
    ingest = await comparing(DuplicatePolicy.LINK)
    await submit(ingest, TEXT, "a", readers=("group:hr",))

    open_to_all = await submit(ingest, TEXT, "b")
    narrower = await submit(ingest, SIMILAR, "c", readers=("group:hr",))

    assert open_to_all.state is DocumentState.ACTIVE
    assert narrower.state is DocumentState.WITHHELD


async def test_documents_of_all_comparing_sources_of_a_project_are_compared_and_of_no_other_project() -> None:
    ingest = await comparing(DuplicatePolicy.LINK)
    await ingest.with_source(source(DuplicatePolicy.KEEP, name="wiki"))
    await ingest.with_source(replace(source(DuplicatePolicy.LINK), project="globex"))
    first = await submit(ingest, TEXT, "a")

    second = await submit(ingest, TEXT, "a", source="wiki")
    foreign = await ingest.accept(Caller(project="globex"), submitted(TEXT, of=spec("a")))

    assert second.newest is not None
    assert second.newest.duplicate is not None
    assert second.newest.duplicate.document == first.id
    assert foreign.state is DocumentState.ACTIVE


async def test_of_two_that_came_at_the_same_time_the_earlier_one_stays() -> None:
    ingest = await comparing(DuplicatePolicy.LINK)
    blind = replace(ingest.accept, compare=replace(ingest.compare, documents=Ingest().documents))
    first = await submit(ingest, TEXT, "b")
    ingest.clock.advance(timedelta(seconds=1))
    second = await blind(ACME, submitted(TEXT, of=spec("a")))
    assert first.state is second.state is DocumentState.ACTIVE

    await check_all(ingest)

    assert (await read(ingest, first)).state is DocumentState.ACTIVE
    assert (await read(ingest, second)).state is DocumentState.WITHHELD
    assert published(ingest) == ["Ingested", "Ingested", "Deleted", "Rejected"]


async def test_a_duplicate_that_an_operator_released_stays_published() -> None:
    ingest = await comparing(DuplicatePolicy.LINK)
    first = await submit(ingest, TEXT, "a")
    second = await submit(ingest, TEXT, "b")
    await ingest.release(ACME, DocumentName(id=second.id), number=1, write=Write(request=Request.of("", b"")))

    await submit(ingest, OTHER, "a")
    await check_all(ingest)
    third = await submit(ingest, TEXT, "c")

    assert (await read(ingest, second)).state is DocumentState.ACTIVE
    assert third.withheld is not None
    assert first.state is DocumentState.ACTIVE


async def test_a_source_that_compares_no_longer_publishes_what_it_linked() -> None:
    ingest = await comparing(DuplicatePolicy.LINK)
    await submit(ingest, TEXT, "a")
    second = await submit(ingest, TEXT, "b")

    given = Source(id="cms", project="acme")
    await ingest.managing.update(ACME, given, frozenset({"quality"}), Write(request=Request.of("", b"")))
    await ingest.judge("acme", "cms")
    await check_all(ingest)

    second = await read(ingest, second)
    assert second.current is not None
    assert second.current.duplicate is None


async def test_what_is_current_stays_so_under_stricter_rules_when_its_original_changes() -> None:
    ingest = await comparing(DuplicatePolicy.KEEP)
    await submit(ingest, TEXT, "a")
    kept = await submit(ingest, TEXT, "b")
    stricter = replace(source(DuplicatePolicy.KEEP).quality, min_characters=10_000)
    given = Source(id="cms", project="acme", quality=stricter)
    await ingest.managing.update(ACME, given, frozenset({"quality"}), Write(request=Request.of("", b"")))

    await ingest.delete(ACME, deletion(key="a"))
    await check_all(ingest)

    kept = await read(ingest, kept)
    assert kept.current is not None
    assert kept.current.duplicate is None
    assert (await submit(ingest, TEXT, "b")).state is DocumentState.WITHHELD


async def test_a_fingerprint_whose_text_was_never_saved_is_removed_after_a_while() -> None:
    ingest = await comparing(DuplicatePolicy.LINK)
    first = await submit(ingest, TEXT, "a")
    (stored,) = ingest.fingerprints.records.values()
    await ingest.fingerprints.put("acme", replace(stored, text="never-saved", stored_at=ingest.clock.now()))

    await ingest.judge_duplicates("acme", first.id)
    assert len(ingest.fingerprints.records) == 2
    await check_all(ingest)

    assert [each.text for each in ingest.fingerprints.records.values()] == [stored.text]


async def test_fingerprints_go_with_the_erasure_of_their_document_and_duplicates_are_decided_again() -> None:
    ingest = await comparing(DuplicatePolicy.LINK)
    first = await submit(ingest, TEXT, "a")
    second = await submit(ingest, TEXT, "b")

    await ingest.erase.record("acme", first.id)
    assert await ingest.erase.fingerprints("acme", first.id) == 1
    assert await ingest.erase.fingerprints("acme", first.id) == 0
    await check_all(ingest)

    assert {each.document for each in ingest.fingerprints.records.values()} == {second.id}
    assert (await read(ingest, second)).state is DocumentState.ACTIVE


@pytest.mark.parametrize(("similarity", "state"), [(0.9, DocumentState.WITHHELD), (0.91, DocumentState.ACTIVE)])
async def test_a_source_says_from_which_similarity_on(similarity: float, state: DocumentState) -> None:
    ingest = await Ingest().with_source(source(DuplicatePolicy.LINK, similarity=similarity))
    await submit(ingest, TEXT, "a")

    assert (await submit(ingest, SIMILAR, "b")).state is state


async def test_what_a_document_duplicates_goes_over_the_wire(client: ApiClient) -> None:
    quality = QualityMessage(duplicates=DUPLICATE_POLICY_KEEP)
    created = await client.sources.CreateSource(
        source_service_pb2.CreateSourceRequest(source=SourceMessage(id="wiki", quality=quality))
    )
    ids = []
    for key in ("a", "b"):
        said = pb.DocumentSpec(source="wiki", key=key, media_type="text/plain")
        request = pb.CreateDocumentRequest(spec=said, content=b"How to reset the password of an account.")
        ids.append((await client.documents.CreateDocument(request)).document.id)

    explained = await client.documents.ExplainDocument(pb.ExplainDocumentRequest(id=ids[1]))

    assert created.source.quality == quality
    found = explained.document.duplicate_of
    assert (found.document, found.similarity, found.exact) == (ids[0], 1.0, True)
