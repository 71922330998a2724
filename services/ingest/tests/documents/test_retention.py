"""How long projects keep what was deleted, and what legal holds keep."""

from dataclasses import replace
from datetime import timedelta

import pytest

from services.ingest.tests.documents.test_events import context, ingest_with_events
from services.ingest.tests.fakes import ACME, EXCHANGE, Ingest, deletion, spec, submitted
from tidemill_ingest.documents.domain.version import Text
from tidemill_ingest.documents.events import DocumentDeleted
from tidemill_ingest.sources.domain import Source
from tidemill_kit.access.holds import LegalHold


async def filled(*, retention_days: int = 0) -> tuple[Ingest, str]:
    """Return an ingest with a document of two versions that was deleted 5 days after the second, and one with two."""
    ingest = await Ingest().with_source(Source(id="cms", project="acme", retention_days=retention_days))
    for key in ("kb/1", "kb/2"):
        await ingest.accept(ACME, submitted("A", of=spec(key)))
        await ingest.accept(ACME, submitted("B", of=spec(key)))
    ingest.clock.advance(timedelta(days=5))
    return ingest, (await ingest.delete(ACME, deletion(key="kb/1"))).id


async def kept(ingest: Ingest, name: str) -> list[Text]:
    return [each.text for each in (await ingest.documents.get("acme", name)).versions]


async def test_a_project_s_own_retention_ends_so_long_after_the_deletion() -> None:
    ingest, name = await filled()
    ingest.projects.deleted_documents["acme"] = timedelta(days=10)

    ingest.clock.advance(timedelta(days=9))
    await ingest.sweep(epoch=1)
    assert await kept(ingest, name) == [Text.KEPT, Text.KEPT]
    ingest.clock.advance(timedelta(days=2))
    await ingest.sweep(epoch=1)

    assert await kept(ingest, name) == [Text.EXPIRED, Text.EXPIRED]
    assert len(ingest.texts_stored()) == 2, "those of the document that was not deleted"


async def test_what_ends_first_counts() -> None:
    ingest, name = await filled(retention_days=2)
    ingest.projects.deleted_documents["acme"] = timedelta(days=10)

    ingest.clock.advance(timedelta(days=3))
    await ingest.sweep(epoch=1)

    assert await kept(ingest, name) == [Text.EXPIRED, Text.EXPIRED]


async def test_nothing_ends_by_age_while_something_of_the_project_is_held() -> None:
    ingest, name = await filled(retention_days=2)
    ingest.projects.deleted_documents["acme"] = timedelta(days=1)
    await ingest.objects.put(EXCHANGE, "acme/unknown/garbage", b"x", media_type="text/plain")
    await ingest.objects.put("quarantine", "acme/d/left", b"x", media_type="text/plain")
    ingest.projects.spared.add("acme")
    ingest.clock.at = (await ingest.objects.list(EXCHANGE))[0].modified_at + timedelta(days=100)

    swept = await ingest.sweep(epoch=1)

    assert (swept.texts, swept.quarantined, swept.spared) == (0, 0, 3)
    assert await kept(ingest, name) == [Text.KEPT, Text.KEPT]
    ingest.projects.spared.clear()
    assert (await ingest.sweep(epoch=1)).texts == 4


async def test_quarantine_keeps_nothing_longer_than_the_setting() -> None:
    ingest = Ingest()
    ingest.projects.quarantine["acme"] = timedelta(days=9)
    await ingest.objects.put("quarantine", "acme/d/left", b"x", media_type="text/plain")
    ingest.clock.at = (await ingest.objects.list("quarantine"))[0].modified_at + timedelta(hours=25)

    await ingest.sweep(epoch=1)

    assert ingest.quarantined() == []


async def test_a_project_may_leave_less_in_quarantine() -> None:
    ingest = Ingest()
    ingest.projects.quarantine["acme"] = timedelta(hours=1)
    for project in ("acme", "globex"):
        await ingest.objects.put("quarantine", f"{project}/d/left", b"x", media_type="text/plain")
    ingest.clock.at = (await ingest.objects.list("quarantine"))[0].modified_at + timedelta(hours=2)

    await ingest.sweep(epoch=1)

    assert ingest.quarantined() == ["globex/d/left"]


async def test_a_document_that_is_held_is_erased_by_no_api_and_deleted_all_the_same() -> None:
    ingest = await ingest_with_events()
    document = await ingest.accept(ACME, submitted("A"))
    ingest.projects.held.add(document.id)

    for command in (deletion(erase=True), replace(deletion(erase=True), validate_only=True)):
        with pytest.raises(LegalHold):
            await ingest.delete(ACME, command)
    with pytest.raises(LegalHold):  # which makes it a dead letter, to be redriven after the release
        await ingest.submissions.deleted(context("e-1"), DocumentDeleted(erase=True))
    assert (await ingest.reading.text(ACME, document.id, number=0))[0].text == "A"

    await ingest.delete(ACME, deletion())
    assert await kept(ingest, document.id) == [Text.KEPT]
    ingest.projects.held.clear()
    await ingest.delete(ACME, deletion(erase=True))
    assert ingest.texts_stored() == []
