"""Rules of quality and what is inside of files: each text is judged by itself, a list of files is none."""

from services.ingest.tests.fakes import ACME, Ingest, spec, submitted
from services.ingest.tests.parsing.files import MAIL, ZIP, mail_with, zipped
from tidemill_core.application import Request
from tidemill_core.resources import Write
from tidemill_ingest.documents.domain.document import Document, DocumentState
from tidemill_ingest.documents.domain.members import MemberState
from tidemill_ingest.documents.domain.submission import document_id
from tidemill_ingest.masking.kinds import Masking
from tidemill_ingest.quality.policy import Quality
from tidemill_ingest.sources.domain import Source

LONG = b"The badge server is restarted by the facility team each Monday at six."


async def named(ingest: Ingest, key: str) -> Document:
    return await ingest.documents.get("acme", document_id("acme", "cms", key))


async def test_a_short_file_is_withheld_and_neither_its_archive_nor_the_others() -> None:
    ingest = await Ingest().with_source(Source(id="cms", project="acme", quality=Quality(min_characters=40)))

    await ingest.accept(ACME, submitted(zipped({"short.md": "x", "long.md": LONG}), of=spec("a.zip", media_type=ZIP)))
    await ingest.unpack_all()

    documents = [await named(ingest, key) for key in ("a.zip", "a.zip!/short.md", "a.zip!/long.md")]
    assert [each.state for each in documents] == [
        DocumentState.ACTIVE,
        DocumentState.WITHHELD,
        DocumentState.ACTIVE,
    ]
    assert {each.state for each in documents[0].contents.members} == {MemberState.STORED}


async def test_what_is_attached_to_a_mail_that_is_withheld_is_taken() -> None:
    ingest = await Ingest().with_source(Source(id="cms", project="acme", quality=Quality(min_characters=1000)))
    long = LONG * 20

    await ingest.accept(ACME, submitted(mail_with({"a.md": long}, text="See."), of=spec("m", media_type=MAIL)))
    await ingest.unpack_all()

    assert (await named(ingest, "m")).state is DocumentState.WITHHELD
    assert (await named(ingest, "m!/a.md")).state is DocumentState.ACTIVE


async def test_what_is_attached_to_a_withheld_mail_is_masked_by_its_model_after_its_source_was_deleted() -> None:
    masking, quality = Masking.of([], none=False, model="names@1"), Quality(min_characters=1000)
    ingest = await Ingest().with_source(Source(id="cms", project="acme", masking=masking, quality=quality))
    mail = mail_with({"a.md": b"By Ada Lovelace"}, text="See.")
    await ingest.accept(ACME, submitted(mail, of=spec("m", media_type=MAIL)))
    await ingest.managing.delete(ACME, "cms", Write(request=Request.of("", b"")))

    await ingest.unpack_all()

    member = await named(ingest, "m!/a.md")
    assert (await ingest.reading.text(ACME, member.id, number=1))[0].text == "By [PERSON]"
