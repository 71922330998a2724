"""An erased document leaves a tombstone that says nothing, and no object."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from services.ingest.tests.fakes import ACME, EXCHANGE, Ingest, deletion, spec, submitted
from tidemill_core.application import Request
from tidemill_ingest.documents.domain.document import Document, DocumentState
from tidemill_ingest.documents.domain.events import DocumentDeleted
from tidemill_ingest.documents.domain.submission import Submission, SubmissionChannel
from tidemill_ingest.documents.domain.version import Text
from tidemill_ingest.documents.reject_submission import RejectCommand

if TYPE_CHECKING:
    from tidemill_ingest.documents.ports import Documents

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
    return ingest, document.id


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

    assert await ingest.erase.record("acme", "unknown") == 0
    assert await ingest.erase.stored_texts("acme", "unknown") == 1
    assert ingest.documents.all() == []


async def test_a_version_that_is_submitted_afterwards_keeps_its_text() -> None:
    ingest, name = await filled()
    await ingest.erase.record("acme", name)
    await ingest.accept(ACME, submitted("New"))

    assert await ingest.erase.stored_texts("acme", name) == 3
    assert (await ingest.reading.text(ACME, name, number=0))[0] == "New"
