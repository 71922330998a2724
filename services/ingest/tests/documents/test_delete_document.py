import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.ingest.tests.fakes import ACME, EXCHANGE, Ingest, deletion, spec, submitted
from tidemill_core.application import Request
from tidemill_core.errors import Conflict, DependencyUnavailable, InvalidInput
from tidemill_ingest.documents.domain.document import Document, DocumentState
from tidemill_ingest.documents.domain.events import DocumentDeleted
from tidemill_ingest.documents.domain.steps import DocumentStep
from tidemill_ingest.documents.domain.submission import DocumentName
from tidemill_ingest.documents.mongo import DOCUMENTS
from tidemill_ingest.documents.objects import ExchangeTexts
from tidemill_ingest.documents.ports import SweepRules
from tidemill_ingest.documents.reconcile import sweep_controller
from tidemill_ingest.documents.reject_submission import RejectCommand
from tidemill_ingest.errors import DocumentNotFound, TextGone, VersionNotFound
from tidemill_ingest.masking.kinds import Masking
from tidemill_ingest.quality.policy import Quality
from tidemill_ingest.sources.domain import Source
from tidemill_testkit.leases import InMemoryLeases
from tidemill_testkit.objects import InMemoryObjects
from tidemill_testkit.polling import eventually
from tidemill_testkit.stores import InMemoryAggregates


class _Contended(InMemoryAggregates[Document]):
    """The documents of another store, of which the first one that is to be updated always changes meanwhile."""

    def __init__(self, documents: InMemoryAggregates[Document]) -> None:
        super().__init__(codec=DOCUMENTS, missing=DocumentNotFound)
        self.__dict__ = dict(documents.__dict__)
        self._updates = 0

    async def update(
        self,
        project: str,
        aggregate_id: str,
        change: Callable[[Document], None],
        *,
        request: Request,
        known: Document | None = None,
    ) -> Document:
        self._updates += 1
        if self._updates == 1:
            raise Conflict(aggregate_id)
        return await super().update(project, aggregate_id, change, request=request, known=known)


class _SlowTexts(ExchangeTexts):
    """Waits between the record of an erasure and the erasure itself."""

    def __init__(self, store: InMemoryObjects, bucket: str) -> None:
        super().__init__(store, bucket)
        self.asked, self.go_on = asyncio.Event(), asyncio.Event()

    async def delete(self, keys: Sequence[str]) -> None:
        self.asked.set()
        await self.go_on.wait()
        await super().delete(keys)


async def test_a_deleted_document_leaves_a_tombstone_whose_old_text_is_kept() -> None:
    ingest = await Ingest().with_source()
    await ingest.accept(ACME, submitted("A"))

    document = await ingest.delete(ACME, deletion())

    assert document.state is DocumentState.DELETED
    assert document.current is None
    assert isinstance(ingest.documents.published[-1], DocumentDeleted)
    assert (await ingest.reading.text(ACME, document.id, number=1))[0].text == "A"
    with pytest.raises(VersionNotFound, match="no current version: known are 1"):
        await ingest.reading.text(ACME, document.id, number=0)


async def test_erasing_removes_the_text_of_every_version_and_says_so() -> None:
    ingest = await Ingest().with_source()
    for text in ("A", "B", "A"):
        await ingest.accept(ACME, submitted(text, of=spec(title="Names Ada")))

    document = await ingest.delete(ACME, deletion(erase=True))

    assert ingest.texts_stored() == []
    assert ingest.documents.published[-1].erased  # type: ignore[attr-defined]  # it is a DocumentDeleted
    assert {version.title for version in document.versions} == {""}
    with pytest.raises(TextGone, match="was erased"):
        await ingest.reading.text(ACME, document.id, number=2)


async def test_a_deletion_keeps_older_revisions_out() -> None:
    ingest = await Ingest().with_source()
    await ingest.delete(ACME, deletion(revision=5, unknown_too=True))

    late = await ingest.accept(ACME, submitted("late", of=spec(revision=4)))
    newer = await ingest.accept(ACME, submitted("newer", of=spec(revision=6)))

    assert late.state is DocumentState.DELETED
    assert newer.state is DocumentState.ACTIVE
    assert newer.version_count == 1


@pytest.mark.parametrize("upsert_first", [True, False])
async def test_upsert_and_deletion_of_one_revision_end_deleted_in_either_order(*, upsert_first: bool) -> None:
    ingest = await Ingest().with_source()
    if upsert_first:
        await ingest.accept(ACME, submitted("A", of=spec(revision=5)))
    document = await ingest.delete(ACME, deletion(revision=5, unknown_too=True))
    if not upsert_first:
        document = await ingest.accept(ACME, submitted("A", of=spec(revision=5)))

    assert document.state is DocumentState.DELETED


async def test_an_older_deletion_is_ignored_and_an_older_erasure_takes_only_what_it_knew() -> None:
    ingest = await Ingest().with_source()
    await ingest.accept(ACME, submitted("A", of=spec(revision=1)))
    await ingest.accept(ACME, submitted("B", of=spec(revision=5)))

    await ingest.delete(ACME, deletion(revision=3))
    document = await ingest.delete(ACME, deletion(revision=3, erase=True))

    assert document.state is DocumentState.ACTIVE
    assert document.steps[-1].happened is DocumentStep.IGNORED
    assert (await ingest.reading.text(ACME, document.id, number=0))[0].text == "B"
    with pytest.raises(TextGone):
        await ingest.reading.text(ACME, document.id, number=1)


@pytest.mark.parametrize("erase", [False, True])
async def test_a_deletion_between_a_current_version_and_a_withheld_one_ends_as_if_it_had_come_in_order(
    *, erase: bool
) -> None:
    rules = Quality(min_characters=10)
    ingest = await Ingest().with_source(Source(id="cms", project="acme", quality=rules))
    await ingest.accept(ACME, submitted("long enough", of=spec(revision=1)))
    await ingest.accept(ACME, submitted("short", of=spec(revision=3)))

    document = await ingest.delete(ACME, deletion(revision=2, erase=erase))
    again = await ingest.delete(ACME, deletion(revision=2, erase=erase))

    assert (document.state, document.current, document.revision) == (DocumentState.WITHHELD, None, 3)
    assert document.withheld is not None
    assert document.withheld.number == 2
    assert len(ingest.texts_stored()) == (1 if erase else 2)
    deleted = [event.erased for event in ingest.documents.published if isinstance(event, DocumentDeleted)]
    assert deleted == [erase]
    assert again.steps[-1].happened is DocumentStep.IGNORED


@pytest.mark.parametrize("seen_again", [2, 0])
async def test_an_older_erasure_leaves_a_text_that_was_sent_again_since(seen_again: int) -> None:
    ingest = await Ingest().with_source()
    await ingest.accept(ACME, submitted("A", of=spec(revision=1)))
    if seen_again:
        await ingest.accept(ACME, submitted("A", of=spec(revision=seen_again)))
    else:
        await ingest.accept(ACME, submitted("B", of=spec(revision=5)))
        await ingest.accept(ACME, submitted("A"))

    document = await ingest.delete(ACME, deletion(revision=1, erase=True))

    assert document.state is DocumentState.ACTIVE
    assert (await ingest.reading.text(ACME, document.id, number=0))[0].text == "A"


async def test_erasing_removes_the_words_of_rejections_too() -> None:
    ingest = await Ingest().with_source()
    submission = submitted("A").submission
    refused = RejectCommand(
        source="cms",
        key="kb/1",
        reason="INVALID_ARGUMENT",
        message="these words",
        submission=submission,
        request=Request.of(submission.id, b""),
    )
    await ingest.reject(ACME, refused)

    document = await ingest.delete(ACME, deletion(erase=True))

    assert (document.state, document.last_rejection) == (DocumentState.DELETED, None)
    assert "these words" not in repr(document.steps)


async def test_what_never_existed_is_not_found_unless_a_tombstone_is_requested() -> None:
    ingest = await Ingest().with_source()

    with pytest.raises(DocumentNotFound, match="kb/1"):
        await ingest.delete(ACME, deletion())

    assert ingest.documents.published == []


async def test_deleting_twice_reports_once_and_erasing_afterwards_reports_again() -> None:
    ingest = await Ingest().with_source()
    await ingest.accept(ACME, submitted("A"))

    await ingest.delete(ACME, deletion())
    await ingest.delete(ACME, deletion())
    await ingest.delete(ACME, deletion(erase=True))

    reported = [event.erased for event in ingest.documents.published if isinstance(event, DocumentDeleted)]
    assert reported == [False, True]
    assert ingest.texts_stored() == []


@pytest.mark.parametrize("pseudonyms", [False, True])
async def test_the_same_submission_delivered_again_does_not_bring_an_erased_text_back(*, pseudonyms: bool) -> None:
    masking = Masking.of([], none=False, pseudonyms=pseudonyms)
    ingest = await Ingest().with_source(Source(id="cms", project="acme", masking=masking))
    submission = submitted("Ask ada@acme.example", request_id="e1")
    await ingest.accept(ACME, submission)
    await ingest.delete(ACME, deletion(erase=True))

    document = await ingest.accept(ACME, submission)

    assert document.state is DocumentState.DELETED
    assert ingest.texts_stored() == []


async def test_an_erasure_still_under_way_leaves_the_same_text_submitted_anew_alone() -> None:
    ingest = await Ingest().with_source()
    await ingest.accept(ACME, submitted("A"))
    slow = _SlowTexts(ingest.objects, EXCHANGE)

    erasing = asyncio.create_task(replace(ingest.delete, texts=slow)(ACME, deletion(erase=True)))
    await slow.asked.wait()
    document = await ingest.accept(ACME, submitted("A"))
    slow.go_on.set()
    await erasing

    assert (await ingest.reading.text(ACME, document.id, number=0))[0].text == "A"
    assert len(ingest.texts_stored()) == 1


async def test_an_erasure_that_a_crash_interrupted_is_ended_by_the_retry_or_by_the_sweep() -> None:
    for ending in ("retry", "sweep"):
        ingest = await Ingest().with_source()
        await ingest.accept(ACME, submitted("A"))
        kept = dict(ingest.objects.buckets[EXCHANGE])
        await ingest.delete(ACME, deletion(erase=True, request_id="r1"))
        ingest.objects.buckets[EXCHANGE] = kept  # the crash came before the objects went

        if ending == "retry":
            await ingest.delete(ACME, deletion(erase=True, request_id="r1"))
        else:
            await ingest.sweep(epoch=1)

        assert ingest.texts_stored() == []


async def test_a_deletion_is_refused_by_an_old_etag_or_an_incomplete_name() -> None:
    ingest = await Ingest().with_source()
    await ingest.accept(ACME, submitted("A"))

    with pytest.raises(Conflict):
        await ingest.delete(ACME, replace(deletion(), etag="99"))
    with pytest.raises(InvalidInput):
        await ingest.delete(ACME, replace(deletion(), name=DocumentName(key="kb/1")))


async def test_checking_a_deletion_deletes_nothing() -> None:
    ingest = await Ingest().with_source()
    await ingest.accept(ACME, submitted("A"))

    preview = await ingest.delete(ACME, replace(deletion(erase=True), validate_only=True))

    assert preview.state is DocumentState.DELETED
    assert len(ingest.texts_stored()) == 1
    assert (await ingest.documents.get("acme", preview.id)).state is DocumentState.ACTIVE


async def test_the_reason_of_a_deletion_is_masked_too() -> None:
    ingest = await Ingest().with_source()
    await ingest.accept(ACME, submitted("A"))

    document = await ingest.delete(ACME, replace(deletion(), reason="asked for by ada@acme.example"))

    assert document.steps[-1].message == "asked for by [EMAIL]"


async def test_superseded_versions_go_when_their_retention_ends_and_the_current_one_stays() -> None:
    ingest = await Ingest().with_source(Source(id="cms", project="acme", retention_days=10))
    await ingest.accept(ACME, submitted("A"))
    document = await ingest.accept(ACME, submitted("B"))

    ingest.clock.advance(timedelta(days=9))
    await ingest.sweep(epoch=1)
    assert (await ingest.reading.text(ACME, document.id, number=1))[0].text == "A"
    ingest.clock.advance(timedelta(days=2))
    await ingest.sweep(epoch=1)

    with pytest.raises(TextGone, match="past the retention"):
        await ingest.reading.text(ACME, document.id, number=1)
    assert (await ingest.reading.text(ACME, document.id, number=0))[0].text == "B"


async def test_without_a_retention_superseded_versions_stay() -> None:
    ingest = await Ingest().with_source()
    await ingest.accept(ACME, submitted("A"))
    document = await ingest.accept(ACME, submitted("B"))

    ingest.clock.advance(timedelta(days=10_000))
    await ingest.sweep(epoch=1)

    assert (await ingest.reading.text(ACME, document.id, number=1))[0].text == "A"


async def test_garbage_goes_when_it_is_older_than_any_submission_takes() -> None:
    ingest = await Ingest().with_source()
    document = await ingest.accept(ACME, submitted("A"))
    await ingest.objects.put(EXCHANGE, f"acme/{document.id}/garbage", b"x", media_type="text/plain")
    await ingest.objects.put(EXCHANGE, "acme/unknown/garbage", b"x", media_type="text/plain")
    await ingest.objects.put("quarantine", "acme/left-by-a-crash", b"x", media_type="text/plain")
    stored_at = (await ingest.objects.list(EXCHANGE))[0].modified_at

    ingest.clock.at = stored_at + timedelta(hours=23)
    await ingest.sweep(epoch=1)
    assert len(ingest.texts_stored()) == 3
    ingest.clock.at = stored_at + timedelta(hours=25)
    swept = await ingest.sweep(epoch=1)

    assert (swept.texts, swept.quarantined) == (2, 1)
    assert (await ingest.reading.text(ACME, document.id, number=0))[0].text == "A"
    assert ingest.quarantined() == []


async def test_a_document_that_cannot_be_swept_now_keeps_no_other_from_it() -> None:
    ingest = await Ingest().with_source(Source(id="cms", project="acme", retention_days=1))
    for key in ("kb/1", "kb/2"):
        for text in ("A", "B"):
            await ingest.accept(ACME, submitted(text, of=spec(key)))
    ingest.clock.advance(timedelta(days=2))
    contended = _Contended(ingest.documents)

    swept = await replace(ingest.sweep, documents=contended)(epoch=1)

    assert (swept.texts, swept.postponed) == (1, 1)


async def test_a_sweep_without_its_store_changes_nothing() -> None:
    ingest = await Ingest().with_source()
    ingest.objects.buckets.clear()

    with pytest.raises(DependencyUnavailable):
        await ingest.sweep(epoch=1)


async def test_a_sweep_goes_through_a_part_of_the_documents_and_the_next_one_goes_on_there() -> None:
    ingest = await Ingest().with_source()
    for number in range(5):
        await ingest.accept(ACME, submitted("A", of=spec(key=f"kb/{number}")))
        kept = dict(ingest.objects.buckets[EXCHANGE])
        await ingest.delete(ACME, deletion(erase=True, key=f"kb/{number}"))
        ingest.objects.buckets[EXCHANGE] = kept  # the crash came before the objects went
    sweep = replace(ingest.sweep, rules=SweepRules(documents=1))
    left = []
    for _ in range(6):
        await sweep(epoch=1)
        left.append(len(ingest.texts_stored()))
    assert (left, ingest.cursor.after) == ([4, 3, 2, 1, 0, 0], "")


async def test_the_sweep_runs_by_itself_under_a_lease() -> None:
    ingest = await Ingest().with_source()
    await ingest.objects.put("quarantine", "acme/left-by-a-crash", b"x", media_type="text/plain")
    ingest.clock.at = datetime.now(UTC) + timedelta(days=2)
    controller = sweep_controller(ingest.sweep, leases=InMemoryLeases(), poll_interval=timedelta(hours=1))

    await controller.start()
    await eventually(lambda: not ingest.quarantined())
    await controller.stop()
