"""ReviewService: what reviewers say of answers, documents and examples."""

from dataclasses import dataclass

from tidemill.feedback.v1 import review_service_pb2 as pb
from tidemill.feedback.v1.review_service_pb2_grpc import ReviewServiceServicer
from tidemill_feedback.reviews.add_items import AddItems
from tidemill_feedback.reviews.claim_item import ClaimItem, ReleaseItem
from tidemill_feedback.reviews.crud import CHANGEABLE, ReviewQueueCrud
from tidemill_feedback.reviews.messages import (
    claim_message,
    given_item,
    item_message,
    labels_of,
    queue_message,
    report_message,
    review_message,
    spec_of,
    state_of,
)
from tidemill_feedback.reviews.report_queue import ReportQueue
from tidemill_feedback.reviews.submit_review import AdjudicateItem, SubmitReview
from tidemill_kit.grpc.server import current_caller, page_of, paths_of, write_of


@dataclass(frozen=True, kw_only=True)
class GrpcReviewService(ReviewServiceServicer):
    """Message -> use case -> message; errors are translated by the server's interceptor."""

    queues: ReviewQueueCrud
    add: AddItems
    claim: ClaimItem
    submit: SubmitReview
    release: ReleaseItem
    adjudicate: AdjudicateItem
    report: ReportQueue

    async def CreateReviewQueue(
        self, request: pb.CreateReviewQueueRequest, _context: object
    ) -> pb.CreateReviewQueueResponse:
        """Create a queue."""
        given = request.queue
        created = await self.queues.create(current_caller(), given.id, spec_of(given), write_of(request))
        return pb.CreateReviewQueueResponse(queue=queue_message(created))

    async def GetReviewQueue(self, request: pb.GetReviewQueueRequest, _context: object) -> pb.GetReviewQueueResponse:
        """Return one queue."""
        found = await self.queues.get(current_caller(), request.id)
        return pb.GetReviewQueueResponse(queue=queue_message(found))

    async def ListReviewQueues(
        self, request: pb.ListReviewQueuesRequest, _context: object
    ) -> pb.ListReviewQueuesResponse:
        """Return a page of queues."""
        page = page_of(request, filters={"deployment": "spec.sampling.deployment"})
        found = await self.queues.list(current_caller(), page)
        queues = [*map(queue_message, found.items)]
        return pb.ListReviewQueuesResponse(queues=queues, next_page_token=found.next_token)

    async def UpdateReviewQueue(
        self, request: pb.UpdateReviewQueueRequest, _context: object
    ) -> pb.UpdateReviewQueueResponse:
        """Change the fields that the mask names."""
        given, paths = request.queue, paths_of(request.update_mask, allowed=CHANGEABLE)
        write = write_of(request, etag=given.etag)
        updated = await self.queues.update(current_caller(), given.id, spec_of(given), paths, write)
        return pb.UpdateReviewQueueResponse(queue=queue_message(updated))

    async def DeleteReviewQueue(
        self, request: pb.DeleteReviewQueueRequest, _context: object
    ) -> pb.DeleteReviewQueueResponse:
        """Delete a queue with its items."""
        deleted = await self.queues.delete(current_caller(), request.id, write_of(request))
        return pb.DeleteReviewQueueResponse(queue=queue_message(deleted))

    async def AddReviewItems(self, request: pb.AddReviewItemsRequest, _context: object) -> pb.AddReviewItemsResponse:
        """Add items, gold items, or reviews of others."""
        given = [given_item(each, field=f"items[{place}]") for place, each in enumerate(request.items)]
        added = await self.add(current_caller(), request.queue, given, write_of(request))
        return pb.AddReviewItemsResponse(items=[*map(item_message, added)])

    async def ClaimReviewItem(self, request: pb.ClaimReviewItemRequest, _context: object) -> pb.ClaimReviewItemResponse:
        """Claim the next item."""
        claimed = await self.claim(current_caller(), request.queue, write_of(request))
        return pb.ClaimReviewItemResponse(claim=claim_message(claimed) if claimed else None)

    async def SubmitReview(self, request: pb.SubmitReviewRequest, _context: object) -> pb.SubmitReviewResponse:
        """Record a review."""
        labels = labels_of(request.labels, field="labels")
        review = await self.submit(current_caller(), request.item, request.claim, labels, write_of(request))
        return pb.SubmitReviewResponse(review=review_message(review))

    async def ReleaseReviewItem(
        self, request: pb.ReleaseReviewItemRequest, _context: object
    ) -> pb.ReleaseReviewItemResponse:
        """Give an item back."""
        released = await self.release(current_caller(), request.item, request.claim, write_of(request))
        return pb.ReleaseReviewItemResponse(item=released.id)

    async def ListReviewItems(self, request: pb.ListReviewItemsRequest, _context: object) -> pb.ListReviewItemsResponse:
        """Return a page of a queue's items."""
        state, asked = state_of(request.state), page_of(request, filters={})
        page = await self.queues.list_items(current_caller(), request.queue, asked, state=state)
        return pb.ListReviewItemsResponse(items=[*map(item_message, page.items)], next_page_token=page.next_token)

    async def AdjudicateReviewItem(
        self, request: pb.AdjudicateReviewItemRequest, _context: object
    ) -> pb.AdjudicateReviewItemResponse:
        """Resolve an item by a decision."""
        labels, write = labels_of(request.labels, field="labels"), write_of(request)
        resolved = await self.adjudicate(current_caller(), request.id, labels, write)
        return pb.AdjudicateReviewItemResponse(item=item_message(resolved))

    async def GetReviewQueueReport(
        self, request: pb.GetReviewQueueReportRequest, _context: object
    ) -> pb.GetReviewQueueReportResponse:
        """Return progress and agreement."""
        report = await self.report(current_caller(), request.id)
        return pb.GetReviewQueueReportResponse(report=report_message(report))
