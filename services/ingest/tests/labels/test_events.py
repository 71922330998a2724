"""What feedback publishes of reviewed items is what is kept, of documents and examples."""

import json
from pathlib import Path

from services.ingest.tests.fakes import Ingest
from services.ingest.tests.labels.test_keep_labels import ErasedHere
from tidemill_ingest.labels.domain import Label, SubjectKind
from tidemill_ingest.labels.events import REMOVED, RESOLVED, ReviewedItems, ReviewItemRemoved, ReviewItemResolved
from tidemill_ingest.labels.keep_labels import KeepLabels
from tidemill_kit.events.subscriptions import Delivery, EventContext
from tidemill_testkit.clocks import NOON

EXAMPLES = Path(__file__).parents[4] / "protos" / "examples"
SUBJECT = {"kind": "SUBJECT_KIND_EXAMPLE", "id": "e1", "dataset": "helpdesk_sft", "inference": "i1"}


def context(ce_type: str, *, seq: int) -> EventContext:
    return EventContext(
        id=f"e{seq}",
        source="/tidemill/feedback",
        type=ce_type,
        subject="item",
        project="acme",
        time=NOON,
        seq=seq,
        topic="tidemill.feedback.review.v1",
        partition=0,
        offset=seq,
        data=b"{}",
    )


def written(ce_type: str, **fields: object) -> str:
    return json.dumps(json.loads((EXAMPLES / f"{ce_type}.json").read_text()) | fields)


async def test_labels_are_kept_as_they_are_published_until_their_item_is_removed() -> None:
    ingest = Ingest()
    items = ReviewedItems(keep=KeepLabels(labels=ingest.labels, documents=ingest.documents, erased=ErasedHere()))
    subscription = items.subscription(["tidemill.feedback.review.v1"])
    assert (subscription.group, subscription.delivery) == ("tidemill.ingest.labels", Delivery.LATEST)

    resolved = ReviewItemResolved.model_validate_json(written(RESOLVED, subject=SUBJECT))
    await items.resolved(context(RESOLVED, seq=1), resolved)

    (kept,) = (await ingest.labels.of_examples("acme", "helpdesk_sft", {"e1"}))["e1"]
    assert kept.labels == (
        Label(field="correct", value=True),
        Label(field="tone", value="friendly"),
        Label(field="score", value=4.0),
    )
    assert (kept.kind, kept.reviewers, kept.resolve_time) == (SubjectKind.EXAMPLE, ("user:ada", "user:bob"), NOON)
    assert kept.terms[-1] == "answers.score=4"

    subject = {"kind": "SUBJECT_KIND_EXAMPLE", "id": "", "dataset": "", "inference": ""}
    removed = ReviewItemRemoved.model_validate_json(written(REMOVED, subject=subject))
    await items.removed(context(REMOVED, seq=2), removed)

    assert await ingest.labels.of_examples("acme", "helpdesk_sft", {"e1"}) == {}


async def test_of_answers_nothing_is_kept() -> None:
    ingest = Ingest()
    items = ReviewedItems(keep=KeepLabels(labels=ingest.labels, documents=ingest.documents, erased=ErasedHere()))

    await items.resolved(context(RESOLVED, seq=1), ReviewItemResolved.model_validate_json(written(RESOLVED)))
    await items.removed(context(REMOVED, seq=2), ReviewItemRemoved.model_validate_json(written(REMOVED)))

    assert ingest.labels.rows == {}
