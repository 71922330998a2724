"""Every event that ingest has ever published or taken stays readable: one golden example each."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToJson, Parse
from google.protobuf.message import Message
from pydantic import BaseModel

from services.ingest.tests.datasets.examples import batch_of, offer_of
from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import derived_id
from tidemill_core.approvals import Approval, ApprovalPolicy
from tidemill_ingest.datasets.domain.dataset import Dataset, DatasetState
from tidemill_ingest.datasets.domain.version import Part, Statistics, VersionDraft
from tidemill_ingest.datasets.events import COMPLETED, CurationCompleted
from tidemill_ingest.datasets.messages import VERSION_APPROVED, VERSION_PUBLISHED, VERSION_WITHHELD
from tidemill_ingest.datasets.mongo import DATASETS
from tidemill_ingest.documents import events as submission_events
from tidemill_ingest.documents.domain.document import Document
from tidemill_ingest.documents.domain.submission import Submission, SubmissionChannel, SubmissionFacts
from tidemill_ingest.documents.domain.version import Prepared
from tidemill_ingest.documents.events import DocumentDeleted, DocumentUpserted
from tidemill_ingest.documents.messages import DELETED, INGESTED, REJECTED, UPDATED
from tidemill_ingest.documents.mongo import DOCUMENTS

EXAMPLES = Path(__file__).parents[4] / "protos" / "examples"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
DOCUMENT = derived_id("acme", "cms", "kb/4711")
SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
SUBMISSION = Submission(door=SubmissionChannel.KAFKA, id="0b6e7f8a", source="https://cms.acme.example/kb")


PREPARED = Prepared(
    media_type="text/markdown",
    text="# Reset a password",
    title="Reset a password",
    uri="https://kb.acme.example/4711",
    language="en",
    readers=("group:support",),
    metadata={"product": "vpn"},
    revision=0,
    steps=(),
    masked={},
)
OBJECT = ObjectRef(bucket="tidemill-ingest-exchange", key=f"acme/{DOCUMENT}/{SHA256}", size=2048, sha256=SHA256)


def accept(document: Document, *, revision: int) -> None:
    facts = SubmissionFacts(revision=revision, body_digest=f"d{revision}", masking=("email",))
    document.accept(PREPARED, ref=OBJECT, facts=facts, submission=SUBMISSION, now=NOON)


def published(ce_type: str) -> Message:
    """Run a document, and return its event of this type as it is published."""
    document = Document(id=DOCUMENT, project="acme", source="cms", key="kb/4711")
    document.reject(
        SUBMISSION,
        reason="EMPTY_DOCUMENT",
        message="content: has 0 bytes: send at least one",
        now=NOON,
    )
    accept(document, revision=42)
    accept(document, revision=43)
    document.delete(SUBMISSION, revision=44, erase=True, reason="erasure request 2291", now=NOON)
    events = [DOCUMENTS.event(document, event, seq) for seq, event in enumerate(document.pending, start=1)]
    return dict([*events, *curated()])[ce_type]


def curated() -> list[tuple[str, Message]]:
    """Run a dataset, and return its events as they are published."""
    dataset = Dataset(id="helpdesk_sft", project="acme", state=DatasetState.ACTIVE, approval=ApprovalPolicy(count=1))
    offers = [offer_of(batch_of(b"", count=0), seq=seq) for seq in (1, 2)]
    for each in offers:
        dataset.offer(each, at_most=2)
    train, held_out = (
        ObjectRef(bucket="tidemill-ingest-datasets", key=f"acme/helpdesk_sft/{SHA256}", size=size, sha256=SHA256)
        for size in (98304, 40960)
    )
    draft = VersionDraft(
        digest=SHA256,
        train=Part(object=train, examples=126),
        held_out=Part(object=held_out, examples=54),
        statistics=Statistics(
            offered=180,
            duplicates=0,
            overlap=0,
            erased=0,
            groups=180,
            end_users=7,
            mean_output_chars=17.4,
            shared=0,
        ),
    )
    for each in offers:
        dataset.publish(each, draft, held_out_debt=0, epoch=0, now=NOON, keep=9)
    dataset.approve(dataset.versions[0], Approval(approver="user:ada", rationale="read", approve_time=NOON), now=NOON)
    return [DATASETS.event(dataset, event, seq) for seq, event in enumerate(dataset.pending, start=1)]


@pytest.mark.parametrize(
    "ce_type", [INGESTED, UPDATED, DELETED, REJECTED, VERSION_PUBLISHED, VERSION_WITHHELD, VERSION_APPROVED]
)
def test_an_event_is_published_as_its_golden_example_and_carries_no_text(ce_type: str) -> None:
    payload = published(ce_type)

    written = MessageToJson(payload, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    example = (EXAMPLES / f"{ce_type}.json").read_text(encoding="utf-8")

    assert written + "\n" == example
    assert Parse(example, type(payload)()) == payload
    assert "Reset a password" not in example


@pytest.mark.parametrize(
    ("ce_type", "model"),
    [(submission_events.UPSERTED, DocumentUpserted), (submission_events.DELETED, DocumentDeleted)],
)
def test_a_submission_is_taken_as_its_golden_example_shows_every_field(ce_type: str, model: type[BaseModel]) -> None:
    example = json.loads((EXAMPLES / f"{ce_type}.json").read_text(encoding="utf-8"))

    assert model.model_validate(example).model_dump() == example
    assert set(example) == set(model.model_fields)


def test_a_completed_curation_is_read_as_feedback_writes_it() -> None:
    example = json.loads((EXAMPLES / f"{COMPLETED}.json").read_text(encoding="utf-8"))

    body = CurationCompleted.model_validate(example)

    assert (body.curation, body.dataset, str(body.seq)) == (example["curation"], example["dataset"], example["seq"])
    assert str(body.batch.size) == example["batch"]["size"]
    assert body.batch.key.endswith(f"/{body.batch.sha256}")
