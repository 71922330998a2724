"""ReviewService: a real server on a free port, with stores in memory; and the event that it publishes."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import MessageToJson, ParseDict

from services.feedback.tests.inference_server import settings
from services.feedback.tests.reviews.harness import FIELDS, ReviewsHarness, labels
from tidemill.feedback.v1 import review_pb2
from tidemill.feedback.v1 import review_service_pb2 as pb
from tidemill.feedback.v1.review_service_pb2_grpc import ReviewServiceStub, add_ReviewServiceServicer_to_server
from tidemill_core.errors import InvalidInput, NotFound
from tidemill_feedback.reviews.domain.item import ReviewItem, Subject, SubjectKind
from tidemill_feedback.reviews.events import AnswerCompleted
from tidemill_feedback.reviews.grpc import GrpcReviewService
from tidemill_feedback.reviews.messages import RESOLVED, item_payload
from tidemill_testkit.access import access_of, admin_channel
from tidemill_testkit.audit import RecordedCalls
from tidemill_testkit.clocks import NOON
from tidemill_testkit.direct_calls import DirectServer

EXAMPLES = Path(__file__).parents[4] / "protos" / "examples"
QUEUE = {
    "id": "answers",
    "instructions": "Is it right?",
    "fields": [
        {"name": "correct", "kind": "LABEL_KIND_BOOLEAN", "required": True},
        {"name": "tone", "kind": "LABEL_KIND_CATEGORY", "choices": ["friendly", "rude"]},
        {"name": "score", "kind": "LABEL_KIND_NUMBER", "min": 1, "max": 5, "tolerance": 1},
        {"name": "better", "kind": "LABEL_KIND_TEXT"},
    ],
    "sampling": {"deployment": "helpdesk", "strategy": "SAMPLING_STRATEGY_UNCERTAIN", "support_below": 0.4},
    "claim_time": "600s",
    "labels": {"tidemill.dev/loop": "helpdesk"},
}


@pytest.fixture
def harness() -> ReviewsHarness:
    return ReviewsHarness()


@pytest.fixture
async def api(harness: ReviewsHarness) -> AsyncIterator[ReviewServiceStub]:
    service = GrpcReviewService(
        queues=harness.crud,
        add=harness.add,
        claim=harness.claim,
        submit=harness.submit,
        release=harness.release,
        adjudicate=harness.adjudicate,
        report=harness.report,
    )
    registered = [(add_ReviewServiceServicer_to_server, service)]
    server = DirectServer(settings(), registered, access=access_of(), audit=RecordedCalls())
    await server.start()
    async with admin_channel(f"127.0.0.1:{server.port}", project="acme") as channel:
        yield ReviewServiceStub(channel)
    await server.stop(1)


async def created(api: ReviewServiceStub, **fields: object) -> review_pb2.ReviewQueue:
    request = pb.CreateReviewQueueRequest()
    ParseDict(QUEUE | fields, request.queue)
    return (await api.CreateReviewQueue(request)).queue


async def test_a_queue_comes_back_as_it_was_declared(api: ReviewServiceStub) -> None:
    queue = await created(api)

    declared = ParseDict(QUEUE, review_pb2.ReviewQueue())
    for name in ("instructions", "fields", "sampling", "claim_time", "labels"):
        assert getattr(queue, name) == getattr(declared, name)
    assert (await api.GetReviewQueue(pb.GetReviewQueueRequest(id="answers"))).queue == queue
    listed = await api.ListReviewQueues(pb.ListReviewQueuesRequest(filter='deployment = "helpdesk"'))
    assert [*listed.queues] == [queue]
    queue.gold_share = 0.2
    update = pb.UpdateReviewQueueRequest(queue=queue, update_mask=FieldMask(paths=["gold_share"]))
    assert (await api.UpdateReviewQueue(update)).queue.gold_share == 0.2
    await api.DeleteReviewQueue(pb.DeleteReviewQueueRequest(id="answers"))
    with pytest.raises(NotFound):
        await api.GetReviewQueue(pb.GetReviewQueueRequest(id="answers"))


async def test_an_item_is_claimed_reviewed_resolved_and_reported(
    api: ReviewServiceStub, harness: ReviewsHarness
) -> None:
    await created(api)
    harness.answers.put("i1")
    subject = review_pb2.ReviewSubject(kind=review_pb2.SUBJECT_KIND_INFERENCE, id="i1")
    added = await api.AddReviewItems(
        pb.AddReviewItemsRequest(queue="answers", items=[review_pb2.ReviewItem(subject=subject)])
    )
    claim = (await api.ClaimReviewItem(pb.ClaimReviewItemRequest(queue="answers"))).claim
    assert (claim.item, claim.subject, claim.expire_time.ToDatetime()) == (
        added.items[0].id,
        subject,
        NOON.replace(minute=10, tzinfo=None),
    )
    said = [
        review_pb2.ReviewLabel(field="correct", boolean=False),
        review_pb2.ReviewLabel(field="tone", category="rude"),
        review_pb2.ReviewLabel(field="score", number=0.5 + 1),
        review_pb2.ReviewLabel(field="better", text=" Better. "),
    ]

    submit = pb.SubmitReviewRequest(item=claim.item, claim=claim.id, labels=said)
    review = (await api.SubmitReview(submit)).review

    said[3].text = "Better."
    assert [*review.labels] == said
    assert not (await api.ClaimReviewItem(pb.ClaimReviewItemRequest(queue="answers"))).HasField("claim")
    resolved = pb.ListReviewItemsRequest(queue="answers", state=review_pb2.REVIEW_ITEM_STATE_RESOLVED)
    (item,) = (await api.ListReviewItems(resolved)).items
    assert [*item.resolved.labels] == said
    assert item.reviews[0] == review
    report = (await api.GetReviewQueueReport(pb.GetReviewQueueReportRequest(id="answers"))).report
    assert (report.resolved_items, report.open_items, report.examined_items) == (1, 0, 1)
    assert [each.resolved_share for each in report.reviewers] == [1.0]
    decided = pb.AdjudicateReviewItemRequest(id=item.id, labels=[review_pb2.ReviewLabel(field="correct", boolean=True)])
    again = (await api.AdjudicateReviewItem(decided)).item
    assert again.resolved.labels[0].boolean


async def test_an_item_is_given_back(api: ReviewServiceStub, harness: ReviewsHarness) -> None:
    await created(api)
    (item,) = await harness.give("i1")
    claim = (await api.ClaimReviewItem(pb.ClaimReviewItemRequest(queue="answers"))).claim

    released = await api.ReleaseReviewItem(pb.ReleaseReviewItemRequest(item=claim.item, claim=claim.id))

    assert released.item == item.id
    assert not (await api.ClaimReviewItem(pb.ClaimReviewItemRequest(queue="answers"))).HasField("claim")


async def test_a_label_without_a_value_and_a_subject_without_a_kind_are_refused(api: ReviewServiceStub) -> None:
    await created(api)

    with pytest.raises(InvalidInput, match=r"labels\[0\].value: has no value"):
        await api.SubmitReview(
            pb.SubmitReviewRequest(item="x", claim="c", labels=[review_pb2.ReviewLabel(field="correct")])
        )
    with pytest.raises(InvalidInput, match=r"items\[0\].subject.kind: is missing"):
        await api.AddReviewItems(pb.AddReviewItemsRequest(queue="answers", items=[review_pb2.ReviewItem()]))


def test_the_event_of_a_resolved_item_is_its_example_and_has_no_text() -> None:
    item = ReviewItem(
        id="3f0c7a52-53b1-5f0a-8a8e-0b7a8f5d9b11",
        project="acme",
        queue="answers",
        incarnation=1,
        subject=Subject(kind=SubjectKind.INFERENCE, id="4e4826b8-5411-595b-90ae-1ab5b13c0811"),
        reason="given",
        place=0.5,
        slots=2,
    )
    item.adjudicate(labels(correct=True, tone="friendly", score=4.0, better="SECRET"), adjudicator="", now=NOON)
    assert item.resolved is not None
    (event,) = item.pending

    ce_type, payload = item_payload(item, event, 1)

    shown = json.loads(
        MessageToJson(payload, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    )
    example = json.loads((EXAMPLES / f"{ce_type}.json").read_text())
    assert ce_type == RESOLVED
    assert shown | {"reviewers": example["reviewers"]} == example
    assert {each.name for each in FIELDS} > {each["field"] for each in shown["labels"]}


def test_what_is_used_of_a_completed_answer_is_in_its_example() -> None:
    body = json.loads((EXAMPLES / "tidemill.inference.inference.completed.v1.json").read_text())

    read = AnswerCompleted.model_validate(body)

    assert [each.document for each in read.documents] == ["d-1", "d-2"]
    assert (read.variant.configuration[:2], read.end_user, read.citation_valid) == ("cc", "u-17", 1.0)
