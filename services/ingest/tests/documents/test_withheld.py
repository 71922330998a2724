"""Documents that break a rule of their source: withheld with a reason, released, decided again."""

from dataclasses import replace
from datetime import timedelta

import pytest

from services.ingest.tests.conftest import ApiClient
from services.ingest.tests.fakes import ACME, Ingest, deletion, spec, submitted
from tidemill.ingest.v1 import document_service_pb2 as pb
from tidemill.ingest.v1.document_pb2 import DOCUMENT_STATE_WITHHELD, Breach
from tidemill_core.application import Caller, Request
from tidemill_core.errors import Conflict, InvalidInput
from tidemill_core.resources import Write
from tidemill_ingest.documents.domain.document import DocumentState
from tidemill_ingest.documents.domain.steps import DocumentStep
from tidemill_ingest.documents.domain.submission import DocumentName
from tidemill_ingest.documents.domain.version import Text
from tidemill_ingest.errors import DocumentNotFound, NothingWithheld, TextGone
from tidemill_ingest.limits import Limits
from tidemill_ingest.quality.policy import Quality
from tidemill_ingest.sources.domain import Source

LONG = "This page says how to reset the password of your account in three steps."
SHORT = "Too short."
NAME = DocumentName(source="cms", key="kb/1")
RULES = Quality(min_characters=40)


async def with_rules(quality: Quality = RULES, limits: Limits | None = None) -> Ingest:
    return await Ingest(limits=limits or Limits()).with_source(Source(id="cms", project="acme", quality=quality))


def published(ingest: Ingest) -> list[str]:
    return [type(event).__name__.removeprefix("Document") for event in ingest.documents.published]


def written(write: str = "") -> Write:
    return Write(request=Request.of(write, b""))


async def change_rules(ingest: Ingest, quality: Quality) -> None:
    given = Source(id="cms", project="acme", quality=quality)
    await ingest.managing.update(ACME, given, frozenset({"quality"}), written())


async def test_a_text_that_breaks_a_rule_is_stored_and_not_published() -> None:
    ingest = await with_rules()

    document = await ingest.accept(ACME, submitted(SHORT))

    assert document.state is DocumentState.WITHHELD
    assert document.current is None
    assert document.withheld is not None
    assert [(each.reason, each.value, each.limit) for each in document.withheld.withheld] == [
        ("TEXT_TOO_SHORT", "10", "40")
    ]
    assert (document.steps[-1].happened, document.steps[-1].version) == (DocumentStep.WITHHELD, 1)
    assert document.steps[-1].message == "min_characters is 40, and the text has 10"
    assert published(ingest) == ["Rejected"]
    text, _ = await ingest.reading.text(ACME, document.id, number=1)
    assert text.text == SHORT


async def test_what_was_current_stays_so_while_its_next_version_is_withheld() -> None:
    ingest = await with_rules()

    await ingest.accept(ACME, submitted(LONG))
    document = await ingest.accept(ACME, submitted(SHORT))

    assert document.state is DocumentState.ACTIVE
    assert document.current is not None
    assert document.current.number == 1
    assert document.withheld is not None
    assert document.withheld.number == 2
    assert published(ingest) == ["Ingested", "Rejected"]


async def test_a_fitting_text_takes_the_place_of_a_withheld_one() -> None:
    ingest = await with_rules()

    await ingest.accept(ACME, submitted(SHORT))
    document = await ingest.accept(ACME, submitted(LONG))

    assert document.state is DocumentState.ACTIVE
    assert document.withheld is None
    assert [version.superseded_at is None for version in document.versions] == [False, True]
    assert published(ingest) == ["Rejected", "Ingested"]


async def test_the_same_withheld_text_again_changes_nothing() -> None:
    ingest = await with_rules()

    await ingest.accept(ACME, submitted(SHORT))
    document = await ingest.accept(ACME, submitted(SHORT))

    assert document.version_count == 1
    assert document.steps[-1].message == "the content is that of version 1"


async def test_the_current_version_is_remembered_however_many_are_withheld_after_it() -> None:
    ingest = await with_rules(limits=Limits(kept_versions=2))
    await ingest.accept(ACME, submitted(LONG))

    documents = [await ingest.accept(ACME, submitted(f"{number}")) for number in range(3)]

    assert [version.number for version in documents[-1].versions] == [1, 3, 4]
    assert documents[-1].current is not None


async def test_an_operator_publishes_what_was_withheld_once() -> None:
    ingest = await with_rules()
    await ingest.accept(ACME, submitted(LONG))
    await ingest.accept(ACME, submitted(SHORT))

    document = await ingest.release(ACME, NAME, number=2, write=written("r1"))
    again = await ingest.release(ACME, NAME, number=2, write=written("r1"))
    same = await ingest.accept(ACME, submitted(SHORT))

    assert document.current is not None
    assert (document.current.number, document.withheld) == (2, None)
    assert document.versions[0].superseded_at is not None
    assert again.current == same.current == document.current
    assert document.steps[-1].happened is DocumentStep.RELEASED
    assert published(ingest) == ["Ingested", "Rejected", "Updated"]


async def test_only_the_version_that_is_withheld_now_is_released() -> None:
    ingest = await with_rules()
    withheld = await ingest.accept(ACME, submitted(SHORT))

    with pytest.raises(InvalidInput, match="version: is 0"):
        await ingest.release(ACME, NAME, number=0, write=written())
    with pytest.raises(NothingWithheld, match="version 2"):
        await ingest.release(ACME, NAME, number=2, write=written())
    with pytest.raises(Conflict):
        await ingest.release(ACME, NAME, number=1, write=replace(written(), etag=f"{withheld.version + 1}"))
    with pytest.raises(DocumentNotFound):
        await ingest.release(Caller(project="globex"), NAME, number=1, write=written())
    await ingest.delete(ACME, deletion(erase=True))
    with pytest.raises(NothingWithheld):
        await ingest.release(ACME, NAME, number=1, write=written())


async def test_looser_rules_publish_what_was_withheld_without_it_being_submitted_again() -> None:
    ingest = await with_rules()
    await ingest.accept(ACME, submitted(SHORT))
    await ingest.accept(ACME, submitted("Tiny", of=spec("kb/2")))

    await change_rules(ingest, Quality(min_characters=6))
    judged = await ingest.judge("acme", "cms")
    again = await ingest.judge("acme", "cms")

    first, second = [await ingest.reading.get(ACME, DocumentName(source="cms", key=key)) for key in ("kb/1", "kb/2")]
    assert (judged, again) == (2, 0)
    assert first.state is DocumentState.ACTIVE
    assert second.withheld is not None
    assert second.withheld.withheld[0].limit == "6"
    assert published(ingest) == ["Rejected", "Rejected", "Ingested"]
    assert not (await ingest.sources.get("acme", "cms")).quality_changed


async def test_rules_that_change_while_a_text_is_prepared_decide_about_it() -> None:
    ingest = await with_rules()
    command = replace(submitted(SHORT), source=await ingest.sources.get("acme", "cms"))
    await change_rules(ingest, Quality())
    await ingest.judge("acme", "cms")

    document = await ingest.accept(ACME, command)

    assert document.state is DocumentState.ACTIVE


async def test_a_withheld_text_is_returned_where_its_source_was_deleted_meanwhile() -> None:
    ingest = await with_rules()
    command = replace(submitted(SHORT), source=await ingest.sources.get("acme", "cms"))
    await ingest.managing.delete(ACME, "cms", written())

    assert (await ingest.accept(ACME, command)).state is DocumentState.WITHHELD


async def test_stricter_rules_withhold_what_is_submitted_again_and_take_it_from_search() -> None:
    ingest = await with_rules(Quality())
    await ingest.accept(ACME, submitted(SHORT))

    await change_rules(ingest, RULES)
    before = await ingest.reading.get(ACME, NAME)
    document = await ingest.accept(ACME, submitted(SHORT))

    assert before.state is DocumentState.ACTIVE
    assert document.state is DocumentState.WITHHELD
    assert published(ingest) == ["Ingested", "Deleted", "Rejected"]


async def test_a_withheld_text_is_erased_as_any_other() -> None:
    ingest = await with_rules()
    document = await ingest.accept(ACME, submitted(SHORT))

    erased = await ingest.delete(ACME, deletion(erase=True))

    assert erased.state is DocumentState.DELETED
    assert erased.versions[0].text is Text.ERASED
    assert ingest.texts_stored() == []
    with pytest.raises(TextGone):
        await ingest.reading.text(ACME, document.id, number=1)


async def test_a_withheld_text_is_no_garbage() -> None:
    ingest = await with_rules()
    await ingest.accept(ACME, submitted(SHORT))
    ingest.clock.advance(timedelta(days=3))

    await ingest.sweep(epoch=1)

    assert len(ingest.texts_stored()) == 1


async def test_readers_of_a_withheld_version_do_not_open_the_current_one() -> None:
    ingest = await with_rules()
    reader = Caller(project="acme", subject="user:eve", roles=frozenset({"viewer"}))
    await ingest.accept(ACME, submitted(LONG, of=replace(spec(), readers=("group:hr",))))
    await ingest.accept(ACME, submitted(SHORT))

    with pytest.raises(DocumentNotFound):
        await ingest.reading.get(reader, NAME)


async def test_a_source_without_rules_measures_nothing() -> None:
    ingest = await with_rules(Quality())

    document = await ingest.accept(ACME, submitted(SHORT))

    assert document.current is not None
    assert document.current.measures is None


async def test_what_is_withheld_goes_over_the_wire_and_is_released(client: ApiClient) -> None:
    await client.ingest.sources.update("acme", "cms", _require_length, request=Request.internal())
    said = pb.DocumentSpec(source="cms", key="kb/1", media_type="text/plain")
    request = pb.CreateDocumentRequest(spec=said, content=SHORT.encode())

    created = (await client.documents.CreateDocument(request)).document
    explained = await client.documents.ExplainDocument(pb.ExplainDocumentRequest(id=created.id))
    released = await client.documents.ReleaseDocument(pb.ReleaseDocumentRequest(id=created.id, version=1))

    breach = Breach(reason="TEXT_TOO_SHORT", field="min_characters", value="10", limit="40")
    assert created.state == explained.document.state == DOCUMENT_STATE_WITHHELD
    assert not created.HasField("current")
    assert (created.withheld.version, list(created.withheld.breaches)) == (1, [breach])
    assert [(step.happened, step.version) for step in explained.steps] == [("withheld", 1)]
    assert released.document.current.number == 1
    assert not released.document.HasField("withheld")


def _require_length(source: Source) -> None:
    source.quality = RULES


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        (Quality(languages=("EN",)), r"languages\[0\]: is 'EN'"),
        (Quality(languages=("en",) * 51), "51 entries, and 50"),
        (Quality(min_characters=-1), "min_characters: is -1"),
        (Quality(min_characters=9, max_characters=8), "is 8, below min_characters, which is 9"),
        (Quality(max_symbols=1.5), "max_symbols: is 1.5"),
        (Quality(min_letters=float("nan")), "min_letters: is nan"),
    ],
)
async def test_rules_that_cannot_be_are_refused_by_their_field(rules: Quality, words: str) -> None:
    ingest = Ingest()

    with pytest.raises(InvalidInput, match=words):
        await ingest.managing.create(ACME, Source(id="kb", project="acme", quality=rules), written())
