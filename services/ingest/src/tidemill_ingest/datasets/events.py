"""Completions of curations: what feedback offers to datasets."""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, Field

from tidemill.feedback.v1.curation_pb2 import ExampleKind
from tidemill_core.aggregate import ObjectRef
from tidemill_core.errors import InvalidInput
from tidemill_ingest.datasets.domain.version import Batch, ExampleBatchOffer
from tidemill_ingest.datasets.offer_examples import OfferExamples
from tidemill_kit.events.subscriptions import Delivery, EventContext, Route, Subscription

NAME = "ingest.curations"
COMPLETED = "tidemill.feedback.curation.completed.v1"
_KINDS = frozenset({"", *ExampleKind.keys()})


class ExampleBatch(BaseModel):
    """Where the examples lie."""

    bucket: str
    key: str
    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    examples: int = Field(ge=0)
    kind: str = ""


class CurationCompleted(BaseModel):
    """What is read of curation.completed."""

    curation: str = Field(min_length=1)
    seq: int = Field(ge=1)
    dataset: str = Field(min_length=1)
    deployment: str
    batch: ExampleBatch
    authors: list[str] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class Curations:
    """Every completion is an offer; the work is a worker's."""

    offering: OfferExamples

    def subscription(self, topics: Sequence[str]) -> Subscription:
        """Return what to listen to."""
        return Subscription(
            name=NAME,
            topics=tuple(topics),
            delivery=Delivery.ONCE,
            order_by=lambda event: event.project,  # several curations may offer to one dataset
            routes={COMPLETED: Route(CurationCompleted, self.completed)},
        )

    async def completed(self, context: EventContext, body: CurationCompleted) -> None:
        """Offer the examples to the dataset.

        Raises:
            InvalidInput: the batch will never be read, or its examples are of a kind that no training learns from.
            DatasetNotFound: the project has no such dataset: create it and redrive.

        """
        batch = body.batch
        if batch.kind not in _KINDS:
            text = f"is {batch.kind[:40]}; a dataset accepts one of {', '.join(ExampleKind.keys())}"
            raise InvalidInput.at(field="batch.kind", text=text)
        ref = ObjectRef(bucket=batch.bucket, key=batch.key, size=batch.size, sha256=batch.sha256)
        offer = ExampleBatchOffer(
            id=context.request.id,
            curation=body.curation,
            curation_seq=body.seq,
            deployment=body.deployment,
            batch=Batch(object=ref, examples=batch.examples),
            offered_at=context.time,
            authors=tuple(body.authors),
        )
        await self.offering(context.caller, body.dataset, offer, request=context.request)
