"""Take what a curation offers, and leave it to a worker."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from tidemill_core.application import Caller, Clock, Request, ResourceKey, derived_id
from tidemill_core.errors import InvalidInput
from tidemill_ingest.datasets.domain.dataset import Dataset
from tidemill_ingest.datasets.domain.version import ExampleBatchOffer
from tidemill_ingest.datasets.ports import Batches, Datasets
from tidemill_ingest.errors import DatasetNotFound
from tidemill_ingest.limits import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferExamples:
    """The same offer again has no second effect, and one older than the last received has none.

    Emits DatasetVersionWithheld for a batch that is refused, so that the dataset says why nothing comes of it.
    """

    datasets: Datasets
    batches: Batches
    limits: Limits
    clock: Clock
    enqueue: Callable[[ResourceKey], None]

    async def __call__(self, caller: Caller, dataset_id: str, offer: ExampleBatchOffer, *, request: Request) -> Dataset:
        """Return the dataset with the offer waiting.

        Raises:
            InvalidInput: the batch will never be read.
            DatasetNotFound: there is none: create it, and redrive the event.
            TooManyOffers: so many wait already.

        """
        try:
            self.batches.check(caller.project, offer.batch)
        except InvalidInput as error:
            await self._refuse(caller, dataset_id, offer, error.message)
            raise
        at_most = self.limits.waiting_offers
        dataset = await self.datasets.update(
            caller.project, dataset_id, lambda each: each.offer(offer, at_most=at_most), request=request
        )
        self.enqueue(ResourceKey(project=caller.project, id=dataset_id))
        return dataset

    async def _refuse(self, caller: Caller, dataset_id: str, offer: ExampleBatchOffer, why: str) -> None:
        now = self.clock.now()
        message = f"{why}: check the dead letters of ingest.curations, and redrive this one once that is fixed"
        # Not the request of the offer itself, which is to have its effect when it is redriven.
        request = Request(id=derived_id("refuse", offer.id), digest="")
        with suppress(DatasetNotFound):
            await self.datasets.update(
                caller.project, dataset_id, lambda each: each.refuse(offer, message=message, now=now), request=request
            )
