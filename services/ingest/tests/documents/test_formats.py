from dataclasses import replace

import pytest

from services.ingest.tests.documents.test_events import context, ingest_with_events, the_document, upsert
from services.ingest.tests.fakes import ACME, EXCHANGE, QUARANTINE, Ingest, spec, submitted
from services.ingest.tests.parsing.files import DOCX, PDF, docx, paragraph, pdf
from tidemill_core.errors import InvalidInput
from tidemill_core.media_types import MEDIA_TYPES as MEDIA_TYPES_OF_FILES
from tidemill_ingest.anchors import AnchorKind
from tidemill_ingest.errors import DocumentRefused
from tidemill_ingest.formats import MEDIA_TYPES

MAIL = "Mail ada.lovelace.of.the.engine@acme.example for keys."


async def test_the_text_of_a_pdf_is_stored_masked_with_the_places_of_its_pages() -> None:
    ingest = await Ingest().with_source()

    document = await ingest.accept(ACME, submitted(pdf([(MAIL, 11)], [(MAIL, 11)]), of=spec(media_type=PDF)))
    found, version = await ingest.reading.text(ACME, document.id, number=0)

    assert found.text == "Mail [EMAIL] for keys.\n\nMail [EMAIL] for keys."
    assert [(each.start, each.kind, each.number) for each in found.anchors] == [
        (0, AnchorKind.PAGE, 1),
        (24, AnchorKind.PAGE, 2),
    ]
    assert version.media_type == "text/markdown"
    assert ingest.quarantined() == []


async def test_an_anchor_within_what_is_masked_stands_where_the_placeholder_begins() -> None:
    ingest = await Ingest().with_source()
    broken = (
        paragraph("Ask ada@acme").replace("</w:p>", "")
        + "<w:r><w:lastRenderedPageBreak/><w:t>.example now</w:t></w:r></w:p>"
    )

    document = await ingest.accept(ACME, submitted(docx(broken), of=spec(media_type=DOCX)))
    found, _ = await ingest.reading.text(ACME, document.id, number=0)

    assert found.text == "Ask [EMAIL] now"
    assert [each.start for each in found.anchors] == [0, 4]


@pytest.mark.parametrize("content", [b"%PDF-1.7 broken", b"PK\x03\x04", pdf([])])
async def test_a_file_that_is_refused_leaves_nothing(content: bytes) -> None:
    ingest = await Ingest().with_source()

    with pytest.raises(DocumentRefused):
        await ingest.accept(ACME, submitted(content, of=spec(media_type=PDF)))

    assert ingest.objects.buckets == {QUARANTINE: {}, EXCHANGE: {}}
    assert ingest.documents.all() == []


async def test_an_event_cannot_carry_a_format_of_bytes_and_says_what_can() -> None:
    ingest = await ingest_with_events()

    await ingest.submissions.upserted(context("e1"), upsert("%PDF-1.7", media_type=PDF))

    rejection = (await the_document(ingest)).last_rejection
    assert rejection is not None
    assert rejection.reason == "UNSUPPORTED_MEDIA_TYPE"
    assert "UploadDocument" in rejection.message


def test_the_command_line_sends_what_ingest_reads_and_nothing_else() -> None:
    others = {"text/rtf", "application/x-zip-compressed", "application/x-gzip"}
    assert set(MEDIA_TYPES_OF_FILES.values()) == set(MEDIA_TYPES) - others


def test_a_media_type_is_refused_with_those_that_are_read() -> None:
    with pytest.raises(InvalidInput, match="application/pdf"):
        replace(spec(), media_type="application/msword").check(Ingest().limits)


def test_a_mail_of_outlook_is_refused_with_what_to_save_it_as() -> None:
    with pytest.raises(InvalidInput, match=r"save it as a mail \(\.eml\)"):
        replace(spec(), media_type="application/vnd.ms-outlook").check(Ingest().limits)
