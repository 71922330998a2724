import json
import unicodedata
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from services.ingest.tests.fakes import ACME, EXCHANGE, QUARANTINE, Ingest
from services.ingest.tests.keys import NEW
from tidemill_core.application import derived_id
from tidemill_core.errors import TRANSIENT, InvalidInput, RequestIdReused, TidemillError
from tidemill_ingest.documents.domain.document import Document, DocumentState
from tidemill_ingest.documents.domain.events import DocumentRejected
from tidemill_ingest.documents.domain.submission import DocumentName, document_id
from tidemill_ingest.documents.events import DELETED, UPSERTED, DocumentDeleted, DocumentUpserted
from tidemill_ingest.errors import DocumentNotFound, EventsNotRegistered
from tidemill_ingest.limits import Limits
from tidemill_ingest.masking.kinds import Masking
from tidemill_ingest.metrics import SUBMISSIONS
from tidemill_ingest.sources.domain import Source
from tidemill_kit.events.engine import Engine
from tidemill_kit.events.records import OutgoingRecord, Unreadable
from tidemill_kit.events.subscriptions import EventContext, Refusal
from tidemill_kit.store.envelope import Keyring

KB = "https://cms.acme.example/kb"


class Letters:
    """Keeps what would be dead letters."""

    def __init__(self) -> None:
        self.records: list[OutgoingRecord] = []

    async def publish(self, record: OutgoingRecord) -> None:
        self.records.append(record)


async def ingest_with_events(limits: Limits | None = None, *, masking: Masking | None = None) -> Ingest:
    source = Source(id="cms", project="acme", events=KB, masking=masking or Masking())
    ingest = await Ingest(limits=limits or Limits()).with_source(source)
    await ingest.events.bind(ACME, KB, "cms")
    return ingest


def context(event_id: str, *, project: str = "acme", subject: str = "kb/1", body: bytes = b"{}") -> EventContext:
    return EventContext(
        id=event_id,
        source=KB,
        type=UPSERTED,
        subject=subject,
        project=project,
        time=datetime(2026, 1, 1, tzinfo=UTC),
        seq=None,
        topic="tidemill.ingest.submission.v1",
        partition=0,
        offset=1,
        data=body,
    )


def upsert(text: str, **fields: object) -> DocumentUpserted:
    body = {"media_type": "text/markdown", "text": text, **fields}
    return DocumentUpserted.model_validate_json(json.dumps(body))


def refusal(error: TidemillError, *, subject: str = "kb/1", project: str = "acme", event_id: str = "e1") -> Refusal:
    return Refusal(
        id=event_id,
        source=KB,
        type=UPSERTED,
        subject=subject,
        project=project,
        topic="t",
        partition=0,
        offset=7,
        error=error,
    )


async def the_document(ingest: Ingest) -> Document:
    return await ingest.reading.get(ACME, DocumentName(source="cms", key="kb/1"))


async def test_an_upsert_becomes_the_same_document_as_at_the_other_apis() -> None:
    ingest = await ingest_with_events()

    await ingest.submissions.upserted(context("e1"), upsert("# A", revision="42", metadata={"n": 1, "ok": True}))

    document = await the_document(ingest)
    assert document.id == derived_id("acme", "cms", "kb/1")
    assert document.current is not None
    assert document.current.revision == 42
    assert document.current.metadata == {"n": 1.0, "ok": True}
    assert document.current.provenance.submission.id == "e1"
    assert document.current.provenance.submission.source == KB


async def test_the_same_event_again_has_one_effect_and_its_id_with_another_body_is_an_error() -> None:
    ingest = await ingest_with_events()
    await ingest.submissions.upserted(context("e1"), upsert("A"))
    await ingest.submissions.upserted(context("e2"), upsert("B"))
    await ingest.submissions.upserted(context("e1"), upsert("A"))

    document = await the_document(ingest)
    assert document.version_count == 2
    with pytest.raises(RequestIdReused):
        await ingest.submissions.upserted(context("e1", body=b'{"another": "body"}'), upsert("C"))


async def test_an_event_that_comes_again_leaves_one_step_that_says_why_it_had_no_effect() -> None:
    ingest = await ingest_with_events()
    await ingest.submissions.upserted(context("e1"), upsert("A"))
    await ingest.submissions.deleted(context("e2"), DocumentDeleted())
    for _ in range(3):
        await ingest.submissions.upserted(context("e1"), upsert("A"))

    document = await the_document(ingest)
    assert document.state is DocumentState.DELETED
    assert [step.happened.value for step in document.steps] == ["ingested", "deleted", "ignored"]
    assert document.steps[-1].submission_id == "e1"
    assert "handled before" in document.steps[-1].message
    assert len(ingest.documents.published) == 2


async def test_an_earlier_body_in_a_later_event_counts() -> None:
    ingest = await ingest_with_events()
    for number, text in enumerate(("seven", "nine", "seven")):
        await ingest.submissions.upserted(context(f"e{number}"), upsert(text))
    await ingest.submissions.deleted(context("e4"), DocumentDeleted())
    await ingest.submissions.upserted(context("e5"), upsert("seven"))

    document = await the_document(ingest)
    assert (document.state, document.version_count) == (DocumentState.ACTIVE, 4)


async def test_a_key_in_another_form_of_its_accents_is_the_same_document() -> None:
    ingest = await ingest_with_events()
    composed, decomposed = (unicodedata.normalize(form, "kb/Übergabe") for form in ("NFC", "NFD"))

    await ingest.submissions.upserted(context("e1", subject=decomposed), upsert("A"))
    await ingest.submissions.upserted(context("e2", subject=composed), upsert("B"))

    for key in (composed, decomposed):
        document = await ingest.reading.get(ACME, DocumentName(source="cms", key=key))
        assert (document.key, document.version_count) == (composed, 2)
        assert (await ingest.reading.explain(ACME, DocumentName(key=key)))[0].id == document.id
    await ingest.submissions.deleted(context("e3", subject=decomposed), DocumentDeleted())
    document = await ingest.reading.get(ACME, DocumentName(source="cms", key=composed))
    assert document.state is DocumentState.DELETED


async def test_events_out_of_order_end_with_the_highest_revision() -> None:
    ingest = await ingest_with_events()
    for number in (3, 1, 2):
        await ingest.submissions.upserted(context(f"e{number}"), upsert(f"text {number}", revision=number))

    found, version = await ingest.reading.text(ACME, (await the_document(ingest)).id, number=0)
    assert (found.text, version.number) == ("text 3", 1)


async def test_what_became_of_submissions_is_counted() -> None:
    ingest = await ingest_with_events()
    outcomes = ("ingested", "ignored", "rejected")
    before = [SUBMISSIONS.labels("kafka", outcome)._value.get() for outcome in outcomes]  # noqa: SLF001 - no other way

    for number, text in enumerate(("A", "A", "")):
        await ingest.submissions.upserted(context(f"e{number}"), upsert(text))

    after = [SUBMISSIONS.labels("kafka", outcome)._value.get() for outcome in outcomes]  # noqa: SLF001 - no other way
    assert [now - requeue for now, requeue in zip(after, before, strict=True)] == [1, 1, 1]


async def test_a_deletion_that_comes_first_keeps_the_document_out() -> None:
    ingest = await ingest_with_events()
    deletion = DocumentDeleted.model_validate_json('{"revision": 43, "erase": true, "reason": "request 2291"}')

    await ingest.submissions.deleted(context("e2"), deletion)
    await ingest.submissions.upserted(context("e1"), upsert("A", revision=42))

    document = await the_document(ingest)
    assert document.state is DocumentState.DELETED
    assert document.version_count == 0
    assert ingest.objects.buckets[EXCHANGE] == {}


@pytest.mark.parametrize(
    ("body", "reason", "field"),
    [
        (upsert(""), "EMPTY_DOCUMENT", "content"),
        (upsert("  \n"), "EMPTY_DOCUMENT", "content"),
        (upsert("A", media_type="application/pdf"), "UNSUPPORTED_MEDIA_TYPE", "media_type"),
        (upsert("A", language="not a tag"), "INVALID_INPUT", "language"),
        (upsert("A", metadata={"n": 2**60}), "INVALID_INPUT", "metadata[n]"),
        (upsert("A", metadata={"n": -(10**400)}), "INVALID_INPUT", "metadata[n]"),
    ],
)
async def test_content_that_can_never_be_taken_is_rejected_without_a_version(
    body: DocumentUpserted, reason: str, field: str
) -> None:
    ingest = await ingest_with_events()

    await ingest.submissions.upserted(context("e1"), body)
    await ingest.submissions.upserted(context("e1"), body)

    document = await the_document(ingest)
    assert document.state is DocumentState.REJECTED
    assert document.last_rejection is not None
    assert (document.last_rejection.reason, document.last_rejection.submission_id) == (reason, "e1")
    assert document.last_rejection.message.startswith(field)
    assert [type(event) for event in ingest.documents.published] == [DocumentRejected]
    assert ingest.objects.buckets == {QUARANTINE: {}, EXCHANGE: {}}


async def test_a_rejection_leaves_the_current_version_current() -> None:
    ingest = await ingest_with_events()
    await ingest.submissions.upserted(context("e1"), upsert("A", revision=1))
    await ingest.submissions.upserted(context("e2"), upsert("", revision=2))

    document = await the_document(ingest)
    assert document.state is DocumentState.ACTIVE
    assert document.revision == 1
    assert document.last_rejection is not None


async def test_a_record_has_a_limit_on_both_sides_and_points_to_the_upload() -> None:
    ingest = await ingest_with_events()
    limit = 900 * 1024
    letters = Letters()
    reported = {"specversion": "1.0", "id": "e1", "source": KB, "type": UPSERTED, "subject": "kb/1", "project": "acme"}
    headers = [(f"ce_{name}", text.encode()) for name, text in reported.items()]
    body = b'{"media_type": "text/markdown", "text": "A"}'
    engine = Engine(ingest.submissions.subscription(["t"]), dead_letters=letters)

    for offset, size in enumerate((limit, limit + 1)):
        value = body + b" " * (size - len(body))
        record = Unreadable(topic="t", partition=0, offset=offset, value=value, headers=tuple(headers))
        assert await engine.take([record]).wait(10)

    document = await the_document(ingest)
    rejection = document.last_rejection
    assert len(document.versions) == 1
    assert rejection is not None
    assert rejection.reason == "DOCUMENT_TOO_LARGE"
    assert f"{limit + 1} bytes, and {limit} is the limit" in rejection.message
    assert "UploadDocument" in rejection.message
    assert len(letters.records) == 1


@pytest.mark.parametrize("operator", ["", NEW])
async def test_a_submission_waits_for_the_key_that_its_pseudonyms_need(operator: str) -> None:
    ingest = await ingest_with_events(masking=Masking.of([], none=False, pseudonyms=True))
    await ingest.submissions.upserted(context("e1"), upsert("Ask ada@acme.example"))
    seals = Keyring.of(operator) if operator else None
    accept = replace(ingest.accept, secrets=replace(ingest.secrets, seals=seals))

    with pytest.raises(TRANSIENT, match="SECRETS_KEY_FILE"):
        await replace(ingest.submissions, accept=accept).upserted(context("e2"), upsert("Ask bob@acme.example"))
    await ingest.submissions.upserted(context("e2"), upsert("Ask bob@acme.example"))

    document = await the_document(ingest)
    assert (document.version_count, document.last_rejection) == (2, None)


async def test_events_that_are_not_registered_or_another_project_did_are_no_submissions() -> None:
    ingest = await ingest_with_events()

    with pytest.raises(EventsNotRegistered, match="umbrella"):
        await ingest.submissions.upserted(context("e1", project="umbrella"), upsert("A"))
    with pytest.raises(EventsNotRegistered):
        await ingest.submissions.deleted(context("e1", project="umbrella"), DocumentDeleted())
    await ingest.submissions.refused(refusal(EventsNotRegistered("umbrella", KB), project="umbrella"))

    assert ingest.documents.published == []


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"text": "A"}, "media_type"),
        ({"media_type": "text/plain"}, "text"),
        ({"media_type": "text/plain", "data": "QQ=="}, "data"),
        ({"media_type": "text/plain", "text": "A", "colour": "red"}, "colour"),
        ({"media_type": "text/plain", "text": 7}, "text"),
        ({"media_type": "text/plain", "text": "A", "revision": "4x"}, "revision"),
        ({"media_type": "text/plain", "text": "A", "revision": -1}, "revision"),
        ({"media_type": "text/plain", "text": "A", "revision": 2**63}, "revision"),
        ({"media_type": "text/plain", "text": "A", "revision": True}, "revision"),
        ({"media_type": "text/plain", "text": "A", "readers": "all"}, "readers"),
        ({"media_type": "text/plain", "text": "A", "metadata": {"a": {"b": 1}}}, "metadata"),
    ],
)
def test_a_body_that_says_something_else_is_refused_by_the_field(body: dict[str, object], named: str) -> None:
    with pytest.raises(ValidationError) as refused:
        DocumentUpserted.model_validate_json(json.dumps(body))

    assert named in {str(problem["loc"][0]) for problem in refused.value.errors()}


async def test_a_refused_record_that_names_its_document_is_rejected_once_with_its_message_masked() -> None:
    ingest = await ingest_with_events()
    error = InvalidInput("ada@acme.example: Extra inputs are not permitted")

    await ingest.submissions.refused(refusal(error))
    await ingest.submissions.refused(refusal(error))

    document = await the_document(ingest)
    assert document.last_rejection is not None
    assert document.last_rejection.message == "[EMAIL]: Extra inputs are not permitted"
    assert len(ingest.documents.published) == 1


@pytest.mark.parametrize(
    "subject",
    ["", "k" * 1025, "kb\n1"],
)
async def test_a_refused_record_without_a_usable_name_is_not_reported(subject: str) -> None:
    ingest = await ingest_with_events()

    await ingest.submissions.refused(refusal(InvalidInput("no"), subject=subject))

    assert ingest.documents.published == []
    with pytest.raises(DocumentNotFound):
        await the_document(ingest)


def test_submissions_of_one_document_keep_their_order_and_models_are_strict() -> None:
    subscription = Ingest().submissions.subscription(["a", "b"])

    assert subscription.strict
    assert subscription.topics == ("a", "b")
    assert subscription.group == "tidemill.ingest.submissions"
    assert subscription.dead_letter_topic == "tidemill.ingest.submissions.dead.v1"
    assert set(subscription.routes) == {UPSERTED, DELETED}


async def test_what_was_sent_before_the_erasure_of_its_document_is_dropped_when_it_comes() -> None:
    ingest = await ingest_with_events()
    sent = context("e1").time
    ingest.projects.erased = {document_id("acme", "cms", "kb/1"): sent}

    await ingest.submissions.upserted(context("e1"), upsert("The canary."))
    with pytest.raises(DocumentNotFound):
        await the_document(ingest)

    ingest.projects.erased = {document_id("acme", "cms", "kb/1"): sent - timedelta(seconds=1)}
    await ingest.submissions.upserted(context("e2"), upsert("What came since."))
    assert (await the_document(ingest)).state is DocumentState.ACTIVE
