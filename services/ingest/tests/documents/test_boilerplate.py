"""What repeats across the documents of a source is stored, and marked as what is not searched."""

from dataclasses import replace

import pytest
from google.protobuf.json_format import Parse

from services.ingest.tests.fakes import ACME, EXCHANGE, Ingest, deletion, spec, submitted
from tidemill.ingest.v1.events_pb2 import VersionContent
from tidemill_core.application import Caller, Request
from tidemill_core.resources import Write
from tidemill_ingest.documents.domain.document import Document
from tidemill_ingest.errors import DocumentNotFound
from tidemill_ingest.quality.policy import BoilerplatePolicy, Quality
from tidemill_ingest.sources.domain import Source

FOOTER = "All rights reserved by the harbour. Cookies are used here."
OWN = ("The tide is high at noon.", "Ferries leave from pier four.", "Dogs stay on the open deck.", "Bikes are free.")


async def removing(policy: BoilerplatePolicy | None = BoilerplatePolicy.REMOVE) -> Ingest:
    return await Ingest().with_source(Source(id="cms", project="acme", quality=Quality(boilerplate=policy)))


async def submit(ingest: Ingest, number: int, text: str = "") -> Document:
    page = text or f"# Page {number}\n\n{OWN[number]}\n\n{FOOTER}\n"
    return await ingest.accept(ACME, submitted(page, of=spec(f"kb/{number}")))


def content(ingest: Ingest, document: Document) -> VersionContent:
    assert document.current is not None
    return Parse(ingest.objects.buckets[EXCHANGE][document.current.object.key], VersionContent())


def left_out(ingest: Ingest, document: Document) -> list[str]:
    stored = content(ingest, document)
    return [stored.text[each.start : each.end].strip() for each in stored.boilerplate]


async def test_a_footer_is_left_out_of_the_third_document_that_has_it_and_stays_in_its_text() -> None:
    ingest = await removing()

    documents = [await submit(ingest, number) for number in range(3)]

    assert [left_out(ingest, each) for each in documents] == [[], [], [FOOTER]]
    assert FOOTER in content(ingest, documents[2]).text
    (step,) = documents[2].steps
    assert step.message == f"1 blocks ({len(FOOTER)} characters) that repeat in its source are not searched"
    current = documents[2].current
    assert current is not None
    assert current.provenance.removed is not None
    assert (current.provenance.removed.blocks, current.provenance.removed.characters) == (1, len(FOOTER))


async def test_earlier_documents_follow_when_they_are_submitted_again_and_only_once() -> None:
    ingest = await removing()
    first, *_ = [await submit(ingest, number) for number in range(3)]

    outdated = await ingest.reading.is_outdated(first)
    again = [await submit(ingest, 0) for _ in range(2)]

    assert outdated
    assert [each.version_count for each in again] == [2, 2]
    assert left_out(ingest, again[0]) == [FOOTER]
    assert not await ingest.reading.is_outdated(again[1])


async def test_documents_of_a_source_that_was_deleted_and_made_anew_are_counted_when_they_are_submitted_again() -> None:
    ingest = await removing()
    documents = [await submit(ingest, number) for number in range(3)]
    await ingest.blocks.forget("acme", "cms")
    await ingest.blocks.remove_forgotten("acme", "cms")

    outdated = await ingest.reading.is_outdated(documents[2])
    again = [await submit(ingest, number) for number in range(3)]
    unchanged = await submit(ingest, 2)

    assert outdated
    assert [left_out(ingest, each) for each in again] == [[], [], [FOOTER]]
    assert set(ingest.blocks.documents["acme", "cms"]) == {each.id for each in documents}
    assert unchanged.version_count == again[2].version_count


async def test_what_does_not_repeat_any_longer_comes_back_at_the_next_submission() -> None:
    ingest = await removing()
    documents = [await submit(ingest, number) for number in range(3)]
    await ingest.delete(ACME, deletion(key="kb/0"))

    again = await submit(ingest, 2)

    assert again.version_count == documents[2].version_count + 1
    assert left_out(ingest, again) == []


async def test_a_source_that_keeps_it_counts_nothing_and_a_change_of_that_counts_at_resubmission() -> None:
    ingest = await removing(policy=None)
    for number in range(3):
        await submit(ingest, number)
    counted = dict(ingest.blocks.documents)

    def remove(source: Source) -> None:
        source.quality = replace(source.quality, boilerplate=BoilerplatePolicy.REMOVE)

    await ingest.sources.update("acme", "cms", remove, request=Request.internal())
    again = [await submit(ingest, number) for number in range(3)]

    assert not counted
    assert [left_out(ingest, each) for each in again] == [[], [], [FOOTER]]


async def test_a_trial_counts_nothing() -> None:
    ingest = await removing()

    await ingest.accept(ACME, replace(submitted(FOOTER), validate_only=True))

    assert not ingest.blocks.documents


async def test_what_was_counted_goes_with_the_document_its_erasure_and_its_source() -> None:
    ingest = await removing()
    documents = [await submit(ingest, number) for number in range(3)]
    known = ingest.blocks.documents["acme", "cms"]

    await ingest.delete(ACME, deletion(key="kb/0"))
    after_deletion = set(known)
    erased = [await ingest.erase.counted_blocks("acme", documents[1].id) for _ in range(2)]
    after_erasure = set(known)
    caller = Caller(project="acme", roles=frozenset({"admin"}))
    await ingest.managing.delete(caller, "cms", Write(request=Request.internal()))
    await ingest.blocks.remove_forgotten("acme", "cms")

    assert after_deletion == {documents[1].id, documents[2].id}
    assert after_erasure == {documents[2].id}
    assert erased == [2, 0]
    assert ("acme", "cms") not in ingest.blocks.documents
    assert await ingest.erase.counted_blocks("acme", "unknown") == 0


@pytest.mark.parametrize("erases", [True, False])
async def test_a_request_that_comes_again_after_an_erasure_or_a_deletion_counts_nothing(erases: bool) -> None:  # noqa: FBT001
    ingest = await removing()
    command = submitted(f"{OWN[0]}\n\n{FOOTER}\n", request_id="r1")
    document = await ingest.accept(ACME, command)

    if erases:
        for step in (ingest.erase.record, ingest.erase.fingerprints, ingest.erase.counted_blocks):
            await step("acme", document.id)
    else:
        await ingest.delete(ACME, deletion())
    await ingest.accept(ACME, command)

    assert ingest.blocks.documents["acme", "cms"] == {}


async def test_a_submission_that_makes_no_document_counts_nothing() -> None:
    ingest = await removing()
    command = submitted(f"{OWN[0]}\n\n{FOOTER}\n")

    with pytest.raises(DocumentNotFound):
        await ingest.accept(ACME, replace(command, must_exist=True))

    assert not ingest.blocks.documents.get(("acme", "cms"))
