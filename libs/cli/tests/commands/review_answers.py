"""A review queue with two items, as feedback answers."""

from collections.abc import Callable
from typing import Any

from tidemill.feedback.v1 import review_pb2 as pb
from tidemill.feedback.v1 import review_service_pb2 as rpc
from tidemill.ingest.v1.dataset_pb2 import LabelCount, LabelRule, LabelUse
from tidemill_core.errors import PreconditionFailed

LABEL_USE = LabelUse(
    rules=[
        LabelRule(queue="quality", field="verdict", values=["good", "odd"]),
        LabelRule(queue="quality", field="score", max=1, exclude=True),
    ],
    counts=[LabelCount(queue="quality", field="verdict", examples=12)],
)
QUEUE = pb.ReviewQueue(
    id="answers",
    instructions="Is the answer right?",
    fields=[
        pb.LabelField(name="correct", kind=pb.LABEL_KIND_BOOLEAN, required=True),
        pb.LabelField(name="tone", kind=pb.LABEL_KIND_CATEGORY, choices=["friendly", "rude"]),
        pb.LabelField(name="score", kind=pb.LABEL_KIND_NUMBER, min=1, max=5),
        pb.LabelField(name="better", kind=pb.LABEL_KIND_TEXT),
    ],
    sampling=pb.ReviewSampling(deployment="helpdesk", strategy=pb.SAMPLING_STRATEGY_UNCERTAIN),
    reviewers=2,
)
LABELS = [pb.ReviewLabel(field="correct", boolean=True), pb.ReviewLabel(field="score", number=4)]
ITEM = pb.ReviewItem(
    id="item-1",
    queue="answers",
    subject=pb.ReviewSubject(kind=pb.SUBJECT_KIND_INFERENCE, id="in-1"),
    state=pb.REVIEW_ITEM_STATE_RESOLVED,
    reviews=[pb.Review(reviewer="user:ada", labels=LABELS)],
    resolved=pb.Resolution(labels=LABELS, reviewers=["user:ada"]),
)
REPORT = pb.ReviewQueueReport(
    open_items=3,
    resolved_items=5,
    examined_items=6,
    fields=[pb.FieldAgreement(field="correct", items=6, alpha=0.743)],
    reviewers=[pb.ReviewerReport(reviewer="user:ada", reviews=6, gold_accuracy=0.5, constant_fields=["tone"])],
)


class ReviewAnswers:
    """What feedback answers; it keeps what is submitted."""

    def __init__(self) -> None:
        self.submitted: list[rpc.SubmitReviewRequest] = []
        self.released: list[str] = []
        self.added: list[pb.ReviewItem] = []
        self.left = ["d-1", "d-2", "d-3"]
        """The documents that wait for a review."""
        self.kind: pb.SubjectKind.ValueType = pb.SUBJECT_KIND_DOCUMENT
        self.refusal = ""
        """Why a review is refused."""

    def answers(self) -> dict[str, Callable[[Any], Any]]:
        answers: dict[str, Callable[[Any], Any]] = {
            "ListReviewItems": lambda _: rpc.ListReviewItemsResponse(items=[ITEM]),
            "GetReviewQueueReport": lambda _: rpc.GetReviewQueueReportResponse(report=REPORT),
            "AddReviewItems": self._added,
            "ClaimReviewItem": self._claimed,
            "SubmitReview": self._submitted,
            "ReleaseReviewItem": self._released,
            "AdjudicateReviewItem": lambda request: rpc.AdjudicateReviewItemResponse(
                item=pb.ReviewItem(id=request.id, resolved=pb.Resolution(labels=request.labels))
            ),
        }
        return {f"feedback.v1.review_service:{name}": answer for name, answer in answers.items()}

    def _added(self, request: rpc.AddReviewItemsRequest) -> rpc.AddReviewItemsResponse:
        self.added += request.items
        return rpc.AddReviewItemsResponse(items=request.items)

    def _claimed(self, _: rpc.ClaimReviewItemRequest) -> rpc.ClaimReviewItemResponse:
        if not self.left:
            return rpc.ClaimReviewItemResponse()
        subject = pb.ReviewSubject(kind=self.kind, id=self.left[0])
        return rpc.ClaimReviewItemResponse(claim=pb.ReviewClaim(id="c-1", item=f"item-{self.left[0]}", subject=subject))

    def _submitted(self, request: rpc.SubmitReviewRequest) -> rpc.SubmitReviewResponse:
        del self.left[:1]
        if self.refusal:
            raise PreconditionFailed(self.refusal)
        self.submitted.append(request)
        return rpc.SubmitReviewResponse(review=pb.Review(claim=request.claim, labels=request.labels))

    def _released(self, request: rpc.ReleaseReviewItemRequest) -> rpc.ReleaseReviewItemResponse:
        self.released.append(request.item)
        del self.left[:1]
        return rpc.ReleaseReviewItemResponse(item=request.item)
