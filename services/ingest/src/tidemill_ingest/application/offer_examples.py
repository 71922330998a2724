"""Take what a curation offers, and leave it to a worker."""

from collections.abc import Callable
from dataclasses import dataclass

from tidemill_ingest.application.dataset_ports import Batches, Datasets
from tidemill_ingest.domain.dataset import Dataset
from tidemill_ingest.domain.dataset_version import Offer
from tidemill_ingest.domain.limits import Limits
from tidemill_kit.application import Caller, Request


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferExamples:
    """Emits nothing. The same offer again has no second effect, and an older one than was heard of has none."""

    datasets: Datasets
    batches: Batches
    limits: Limits
    wake: Callable[[], None]

    async def __call__(self, caller: Caller, dataset_id: str, offer: Offer, *, request: Request) -> Dataset:
        """Return the dataset with the offer waiting.

        Raises:
            InvalidInput: the batch will never be read.
            DatasetNotFound: there is none: create it, and drive the event again.
            TooManyOffers: so many wait already.

        """
        self.batches.check(caller.project, offer.batch)
        at_most = self.limits.waiting_offers
        dataset = await self.datasets.update(
            caller.project, dataset_id, lambda each: each.offer(offer, at_most=at_most), request=request
        )
        self.wake()
        return dataset
