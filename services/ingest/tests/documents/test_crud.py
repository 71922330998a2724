import pytest

from services.ingest.tests.fakes import ACME, EXCHANGE, Ingest, deletion, spec, submitted
from tidemill_core.application import Caller, PageRequest, Request
from tidemill_core.errors import InvalidInput
from tidemill_ingest.documents.domain.steps import DocumentStep
from tidemill_ingest.documents.domain.submission import DocumentName
from tidemill_ingest.errors import DocumentNotFound, KeyAmbiguous, TextGone
from tidemill_ingest.masking.kinds import Masking
from tidemill_ingest.sources.domain import Source


async def test_a_document_is_found_by_id_or_by_source_and_key() -> None:
    ingest = await Ingest().with_source()
    document = await ingest.accept(ACME, submitted("A"))

    for name in (DocumentName(id=document.id), DocumentName(source="cms", key="kb/1")):
        assert (await ingest.reading.get(ACME, name)).id == document.id
    with pytest.raises(DocumentNotFound, match="'kb/2' of source 'cms'"):
        await ingest.reading.get(ACME, DocumentName(source="cms", key="kb/2"))
    with pytest.raises(DocumentNotFound):
        await ingest.reading.get(Caller(project="other"), DocumentName(id=document.id))


@pytest.mark.parametrize(
    "name",
    [DocumentName(), DocumentName(key="k"), DocumentName(source="cms"), DocumentName(id="i", source="s", key="k")],
)
async def test_a_name_that_names_nothing_or_too_much_is_refused(name: DocumentName) -> None:
    with pytest.raises(InvalidInput):
        await Ingest().reading.get(ACME, name)


async def test_a_list_shows_active_documents_and_all_where_asked() -> None:
    ingest = await Ingest().with_source()
    for number in range(3):
        await ingest.accept(ACME, submitted("A", of=spec(f"kb/{number}")))
    await ingest.delete(ACME, deletion(key="kb/1"))

    active = await ingest.reading.list(ACME, PageRequest(), source="cms")
    everything = await ingest.reading.list(ACME, PageRequest(), show_all=True)
    elsewhere = await ingest.reading.list(ACME, PageRequest(), source="wiki")

    assert sorted(document.key for document in active.items) == ["kb/0", "kb/2"]
    assert len(everything.items) == 3
    assert not elsewhere.items


async def test_explaining_reports_the_whole_way_and_finds_a_key_alone_where_it_is_the_only_one() -> None:
    ingest = await Ingest().with_source()
    await ingest.accept(ACME, submitted("A"))
    await ingest.accept(ACME, submitted("B"))
    await ingest.delete(ACME, deletion())
    ingest.outbox.seqs = frozenset({3})

    document, waiting = await ingest.reading.explain(ACME, DocumentName(key="kb/1"))

    assert [step.happened for step in document.steps] == [
        DocumentStep.INGESTED,
        DocumentStep.UPDATED,
        DocumentStep.DELETED,
    ]
    assert [step.seq in waiting for step in document.steps] == [False, False, True]
    with pytest.raises(DocumentNotFound):
        await ingest.reading.explain(ACME, DocumentName(key="kb/2"))


async def test_explaining_a_key_of_two_sources_names_both() -> None:
    ingest = await (await Ingest().with_source()).with_source(Source(id="wiki", project="acme"))
    await ingest.accept(ACME, submitted("A"))
    await ingest.accept(ACME, submitted("A", of=spec().__class__(source="wiki", key="kb/1", media_type="text/plain")))

    with pytest.raises(KeyAmbiguous, match="cms, wiki"):
        await ingest.reading.explain(ACME, DocumentName(key="kb/1"))


async def test_a_text_whose_object_is_missing_is_reported_as_gone() -> None:
    ingest = await Ingest().with_source()
    document = await ingest.accept(ACME, submitted("A"))
    ingest.objects.buckets[EXCHANGE].clear()

    with pytest.raises(TextGone, match="submit the document again"):
        await ingest.reading.text(ACME, document.id, number=0)


async def test_a_document_is_outdated_once_its_source_masks_otherwise() -> None:
    ingest = await Ingest().with_source()
    document = await ingest.accept(ACME, submitted("A"))
    assert not await ingest.reading.is_outdated(document)

    def unmasked(source: Source) -> None:
        source.masking = Masking.of([], none=True)

    await ingest.sources.update("acme", "cms", unmasked, request=Request.internal())

    assert await ingest.reading.is_outdated(document)
    assert not await ingest.reading.is_outdated(await ingest.accept(ACME, submitted("A")))

    def refusing(source: Source) -> None:
        source.masking = Masking.of([], none=False, reject=True)

    await ingest.sources.update("acme", "cms", refusing, request=Request.internal())
    assert not await ingest.reading.is_outdated(await ingest.accept(ACME, submitted("A")))
