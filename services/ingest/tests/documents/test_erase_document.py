"""An erased document leaves a tombstone that says nothing, and no object."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest

from services.ingest.tests.fakes import ACME, EXCHANGE, Ingest, deletion, spec, submitted
from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Request
from tidemill_core.errors import DependencyUnavailable
from tidemill_ingest.documents.domain.document import Document, DocumentState
from tidemill_ingest.documents.domain.events import DocumentDeleted
from tidemill_ingest.documents.domain.submission import Submission, SubmissionChannel
from tidemill_ingest.documents.domain.version import Prepared, Text
from tidemill_ingest.documents.reject_submission import RejectCommand
from tidemill_ingest.errors import SubmissionsUnderWay

if TYPE_CHECKING:
    from tidemill_ingest.documents.ports import Documents, Texts

CANARY = "canarybird"
SECRET = replace(
    spec(),
    title=f"Title {CANARY}",
    uri=f"https://acme.example/{CANARY}",
    metadata={"owner": CANARY},
    readers=(f"group:{CANARY}",),
)


class _Passed:
    """Hands on what it does not know."""

    def __init__(self, to: object) -> None:
        self._to = to

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - handed on
        return getattr(self._to, name)


async def filled() -> tuple[Ingest, str]:
    """Return an ingest with a document that says the canary wherever words are kept, and one of another key."""
    ingest = await Ingest().with_source()
    await ingest.accept(ACME, submitted(f"First {CANARY}", of=SECRET))
    await ingest.delete(ACME, replace(deletion(), reason=f"because of {CANARY}"))
    document = await ingest.accept(ACME, submitted(f"Second {CANARY}", of=SECRET))
    rejected = RejectCommand(
        source="cms",
        key="kb/1",
        reason="UNKNOWN_FIELD",
        message=f"{CANARY} is no field",
        submission=Submission(door=SubmissionChannel.KAFKA, id="e-1"),
        request=Request.of("e-1", b""),
    )
    await ingest.reject(ACME, rejected)
    await ingest.objects.put(
        EXCHANGE, f"acme/{document.id}/{CANARY}", CANARY.encode(), media_type="text/plain"
    )  # left by a submission that was killed
    await ingest.accept(ACME, submitted("Another", of=spec("kb/2")))
    later(ingest)
    return ingest, document.id


def later(ingest: Ingest, by: timedelta | None = None) -> None:
    """Move the clock on to when nothing that is stored now can be of a submission under way, or by this much."""
    ingest.clock.at = datetime.now(UTC) + (by or ingest.limits.unsaved_after + timedelta(minutes=1))


def stated(ingest: Ingest, document: Document) -> str:
    return repr(document) + repr(ingest.objects.buckets)


async def test_nothing_is_left_of_what_was_written() -> None:
    ingest, name = await filled()
    assert stated(ingest, await ingest.documents.get("acme", name)).count(CANARY) > 8

    assert (await ingest.erase.record("acme", name), await ingest.erase.stored_texts("acme", name)) == (1, 3)

    document = await ingest.documents.get("acme", name)
    assert CANARY not in stated(ingest, document)
    assert (document.state, {each.text for each in document.versions}) == (DocumentState.DELETED, {Text.ERASED})
    event = ingest.documents.published[-1]
    assert isinstance(event, DocumentDeleted)
    assert (event.erased, event.submission.door) == (True, SubmissionChannel.ERASURE)
    assert len(ingest.texts_stored()) == 1, "that of the other document"


async def test_erasing_again_finds_nothing() -> None:
    ingest, name = await filled()
    await ingest.erase.record("acme", name)
    await ingest.erase.stored_texts("acme", name)
    before = await ingest.documents.get("acme", name)

    assert (await ingest.erase.record("acme", name), await ingest.erase.stored_texts("acme", name)) == (0, 0)
    assert await ingest.documents.get("acme", name) == before


async def test_of_two_processes_that_erase_it_at_once_one_reports_it() -> None:
    ingest, name = await filled()
    before = await ingest.documents.get("acme", name)
    await ingest.erase.record("acme", name)
    erased, events = await ingest.documents.get("acme", name), len(ingest.documents.published)

    class ReadEarlier(_Passed):
        async def get(self, project: str, document_id: str) -> Document:
            assert (project, document_id) == ("acme", name)
            return before

    await replace(ingest.erase, documents=cast("Documents", ReadEarlier(ingest.documents))).record("acme", name)

    assert len(ingest.documents.published) == events
    assert (await ingest.documents.get("acme", name)).steps == erased.steps


async def test_a_deleted_document_is_erased_too() -> None:
    ingest, name = await filled()
    await ingest.delete(ACME, replace(deletion(), reason=CANARY))

    assert await ingest.erase.record("acme", name) == 1
    assert CANARY not in repr(await ingest.documents.get("acme", name))


async def test_objects_of_a_document_that_is_not_known_go() -> None:
    ingest = await Ingest().with_source()
    await ingest.objects.put(EXCHANGE, "acme/unknown/x", b"x", media_type="text/plain")
    later(ingest)

    assert await ingest.erase.record("acme", "unknown") == 0
    assert await ingest.erase.stored_texts("acme", "unknown") == 1
    assert ingest.documents.all() == []


async def test_a_version_that_is_submitted_afterwards_keeps_its_text() -> None:
    ingest, name = await filled()
    await ingest.erase.record("acme", name)
    await ingest.accept(ACME, submitted("New"))

    assert await ingest.erase.stored_texts("acme", name) == 3
    assert (await ingest.reading.text(ACME, name, number=0))[0].text == "New"


async def test_a_submission_that_is_being_saved_keeps_its_text() -> None:
    ingest = await Ingest().with_source()
    name = (await ingest.accept(ACME, submitted("First"))).id
    later(ingest, timedelta(minutes=1))
    await ingest.erase.record("acme", name)

    class StoredThenErased(_Passed):
        async def put(self, project: str, document_id: str, prepared: Prepared, *, submission_id: str) -> ObjectRef:
            ref = await ingest.texts.put(project, document_id, prepared, submission_id=submission_id)
            assert await ingest.erase.stored_texts("acme", name) == 1, "that of the first version"
            with pytest.raises(SubmissionsUnderWay):
                await ingest.erase.stored_texts("acme", name)
            return ref

    accept = replace(ingest.accept, texts=cast("Texts", StoredThenErased(ingest.texts)))
    await accept(ACME, submitted("Second"))

    assert (await ingest.reading.text(ACME, name, number=0))[0].text == "Second"
    assert await ingest.erase.stored_texts("acme", name) == 0


async def test_a_text_that_no_version_names_goes_once_no_submission_can_save_it() -> None:
    ingest, name = await filled()
    await ingest.erase.record("acme", name)
    await ingest.erase.stored_texts("acme", name)
    await ingest.objects.put(EXCHANGE, f"acme/{name}/{CANARY}", b"x", media_type="text/plain")

    later(ingest, ingest.limits.unsaved_after - timedelta(minutes=1))
    with pytest.raises(SubmissionsUnderWay):
        await ingest.erase.stored_texts("acme", name)
    later(ingest)
    assert await ingest.erase.stored_texts("acme", name) == 1


async def test_a_text_is_not_saved_that_may_have_been_deleted_as_one_of_no_version() -> None:
    ingest = await Ingest().with_source()

    class Slow(_Passed):
        def __init__(self, to: object, *, by: timedelta) -> None:
            super().__init__(to)
            self._by = by

        async def put(self, *given: Any, **named: Any) -> ObjectRef:  # noqa: ANN401 - handed on
            ref = await ingest.texts.put(*given, **named)
            ingest.clock.advance(self._by)
            return ref

    limit = ingest.limits.save_within
    late = replace(ingest.accept, texts=cast("Texts", Slow(ingest.texts, by=limit + timedelta(seconds=1))))
    with pytest.raises(DependencyUnavailable, match="send it again"):
        await late(ACME, submitted("Late"))
    assert ingest.documents.all() == []

    in_time = replace(ingest.accept, texts=cast("Texts", Slow(ingest.texts, by=limit)))
    assert (await in_time(ACME, submitted("Late"))).version_count == 1
