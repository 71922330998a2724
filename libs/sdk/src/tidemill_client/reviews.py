"""Review queues: what reviewers say of answers, documents and examples."""

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

from tidemill.feedback.v1 import review_service_pb2 as reviews
from tidemill.feedback.v1.curation_pb2 import Curation
from tidemill.feedback.v1.curation_service_pb2 import GetCurationRequest
from tidemill.feedback.v1.feedback_pb2 import Correction, Feedback
from tidemill.feedback.v1.feedback_service_pb2 import ListFeedbackRequest
from tidemill.feedback.v1.review_pb2 import (
    LABEL_KIND_BOOLEAN,
    LABEL_KIND_CATEGORY,
    LABEL_KIND_NUMBER,
    REVIEW_ITEM_STATE_UNSPECIFIED,
    SUBJECT_KIND_DOCUMENT,
    SUBJECT_KIND_EXAMPLE,
    SUBJECT_KIND_INFERENCE,
    LabelField,
    Review,
    ReviewClaim,
    ReviewItem,
    ReviewItemState,
    ReviewLabel,
    ReviewQueue,
    ReviewQueueReport,
    ReviewSubject,
)
from tidemill.inference.v1.inference_service_pb2 import GetInferenceRequest
from tidemill_client.datasets import PARTS, Datasets
from tidemill_client.documents import Documents
from tidemill_client.pages import each, filter_of
from tidemill_client.resources import Resources
from tidemill_client.values import text_of
from tidemill_core.application import derived_id
from tidemill_core.errors import InvalidInput

ITEMS_PER_CALL = 100
_TRUE, _FALSE = {"true", "yes", "y", "1"}, {"false", "no", "n", "0"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """The texts of an item, as the reviewer's credential may read them."""

    question: str = ""
    """Of an answer; empty where the record has it not."""
    text: str = ""
    """The answer, or the document."""
    corrections: tuple[str, ...] = ()
    """Of an example: the corrections of the answer that count; one of them may be the example's text."""
    restricted: bool = False
    """It may not be read: it rests on documents that the credential has no right to."""


class Reviews(Resources[ReviewQueue]):
    """The review queues of a project, and their items."""

    contract, stub, noun, field = reviews, "reviews", "ReviewQueue", "queue"

    async def add(self, queue: str, items: Sequence[ReviewItem]) -> list[ReviewItem]:
        """Add items, gold items or reviews of others; what is there already stays. Many items take several calls."""
        added = list[ReviewItem]()
        for start in range(0, len(items), ITEMS_PER_CALL):
            request = reviews.AddReviewItemsRequest(queue=queue, items=items[start : start + ITEMS_PER_CALL])
            added += (await self._connection.reviews.AddReviewItems(request)).items
        return added

    async def examples(self, reference: str) -> list[ReviewItem]:
        """Return items about all examples of `dataset@number`, or for `dataset` of its newest version."""
        data, datasets = b"", Datasets(self._connection)
        for part in PARTS:
            data += b"".join([piece async for piece in datasets.export(reference, part=part)])
        lines, dataset = map(json.loads, data.splitlines()), reference.partition("@")[0]
        return [example_item(line["id"], dataset=dataset, inference=line["inference"]) for line in lines]

    async def candidates(self, curation: str, *, queue: str, limit: int) -> list[ReviewItem]:
        """Return items about what a curation may make examples of and the queue has not, the latest reactions first."""
        request = GetCurationRequest(id=curation)
        found = (await self._connection.curations.GetCuration(request)).curation
        known = {item.subject.id async for item in self.items(queue)}
        items, latest = dict[str, ReviewItem](), ListFeedbackRequest(filter=filter_of(deployment=found.deployment))
        latest.order_by = "create_time desc"
        async for reaction in each(self._connection.feedback.ListFeedback, latest, lambda page: page.feedback):
            if len(items) == limit:
                break
            if reaction.metric in found.feedback and reaction.counts and not reaction.preference.tie:
                item = candidate_item(found, reaction)
                if item.subject.id not in known:
                    items.setdefault(item.subject.id, item)
        return [*items.values()]

    async def claim(self, queue: str) -> ReviewClaim | None:
        """Return the next item to review, or again the one that was claimed; None where there is none."""
        reply = await self._connection.reviews.ClaimReviewItem(reviews.ClaimReviewItemRequest(queue=queue))
        return reply.claim if reply.HasField("claim") else None

    async def submit(self, claim: ReviewClaim, labels: Sequence[ReviewLabel]) -> Review:
        """Submit the labels of a claimed item."""
        request = reviews.SubmitReviewRequest(item=claim.item, claim=claim.id, labels=labels)
        return (await self._connection.reviews.SubmitReview(request)).review

    async def release(self, claim: ReviewClaim) -> None:
        """Give an item back: it is offered to others."""
        request = reviews.ReleaseReviewItemRequest(item=claim.item, claim=claim.id)
        await self._connection.reviews.ReleaseReviewItem(request)

    def items(
        self, queue: str, *, state: ReviewItemState.ValueType = REVIEW_ITEM_STATE_UNSPECIFIED
    ) -> AsyncIterator[ReviewItem]:
        """Yield the items of a queue with what was said of them, oldest first."""
        request = reviews.ListReviewItemsRequest(queue=queue, state=state)
        return each(self._connection.reviews.ListReviewItems, request, lambda page: page.items)

    async def adjudicate(self, item: str, labels: Sequence[ReviewLabel]) -> ReviewItem:
        """Resolve an item by a decision."""
        request = reviews.AdjudicateReviewItemRequest(id=item, labels=labels)
        return (await self._connection.reviews.AdjudicateReviewItem(request)).item

    async def report(self, queue: str) -> ReviewQueueReport:
        """Return how far a queue is, and how well its reviewers agree."""
        request = reviews.GetReviewQueueReportRequest(id=queue)
        return (await self._connection.reviews.GetReviewQueueReport(request)).report

    async def read(self, subject: ReviewSubject) -> Shown:
        """Return the texts of what is reviewed, from its owner; of an example those of its answer, and corrections."""
        if subject.kind == SUBJECT_KIND_DOCUMENT:
            return Shown(text=await Documents(self._connection).text(subject.id))
        request = GetInferenceRequest(id=subject.inference or subject.id)
        found = (await self._connection.inferences.GetInference(request)).inference
        asked = (part.text for message in found.messages[-1:] for part in message.parts)
        text = text_of(found)  # of a restricted record only what was said earlier may be left out
        shown = Shown(question="".join(asked), text=text, restricted=found.restricted and not text)
        if subject.kind != SUBJECT_KIND_EXAMPLE or found.restricted:
            return shown
        about = ListFeedbackRequest(inference=request.id)
        given = each(self._connection.feedback.ListFeedback, about, lambda page: page.feedback)
        counting = [reaction.correction async for reaction in given if reaction.counts]
        return replace(shown, corrections=tuple(filter(None, map(_corrected, counting))))


def inference_item(inference: str) -> ReviewItem:
    """Return an item about an answer."""
    return ReviewItem(subject=ReviewSubject(kind=SUBJECT_KIND_INFERENCE, id=inference))


def document_item(document: str) -> ReviewItem:
    """Return an item about a document."""
    return ReviewItem(subject=ReviewSubject(kind=SUBJECT_KIND_DOCUMENT, id=document))


def example_item(example: str, *, dataset: str, inference: str) -> ReviewItem:
    """Return an item about an example of a dataset, which was made from an inference."""
    subject = ReviewSubject(kind=SUBJECT_KIND_EXAMPLE, id=example, dataset=dataset, inference=inference)
    return ReviewItem(subject=subject)


def _corrected(given: Correction) -> str:
    return "".join(part.text for message in given.output for part in message.parts)


def candidate_item(curation: Curation, reaction: Feedback) -> ReviewItem:
    """Return an item about the example that a curation makes of a reaction; see Example.id."""
    inference = reaction.inference or reaction.last_inference or reaction.preference.chosen
    about = " ".join(sorted({inference, reaction.preference.rejected} - {""}))
    example = derived_id(curation.project, curation.id, about)
    return example_item(example, dataset=curation.dataset, inference=inference)


def label_of(field: LabelField, text: str) -> ReviewLabel:
    """Return a label as a person writes it: a choice or its number, yes or no, a number, or text.

    Raises:
        InvalidInput: it is no value of the field.

    """
    said, label = text.strip(), ReviewLabel(field=field.name)
    if field.kind == LABEL_KIND_CATEGORY:
        numbered = {str(number): choice for number, choice in enumerate(field.choices, 1)}
        label.category = numbered.get(said, said)
        if label.category not in field.choices:
            raise _refused(field, f"is none of its choices; use {', '.join(field.choices)}")
    elif field.kind == LABEL_KIND_BOOLEAN:
        if said.lower() not in _TRUE | _FALSE:
            raise _refused(field, "is neither; use yes or no")
        label.boolean = said.lower() in _TRUE
    elif field.kind == LABEL_KIND_NUMBER:
        try:
            label.number = float(said)
        except ValueError:
            raise _refused(field, "is no number") from None
    else:
        label.text = said
    return label


def labels_of(queue: ReviewQueue, values: Sequence[str]) -> list[ReviewLabel]:
    """Return labels of `field=value` texts.

    Raises:
        InvalidInput: one names no field of the queue, or has no value of it.

    """
    declared, labels = {field.name: field for field in queue.fields}, []
    for each_value in values:
        name, _, value = each_value.partition("=")
        if name not in declared:
            message = f"{name[:40]!r} is no field of review queue {queue.id}: use {', '.join(declared)}, as field=value"
            raise InvalidInput(message)
        labels.append(label_of(declared[name], value))
    return labels


def _refused(field: LabelField, text: str) -> InvalidInput:
    return InvalidInput.at(field=field.name, text=text)
