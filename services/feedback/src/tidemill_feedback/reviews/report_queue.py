"""Report how far a queue is, and how well its reviewers agree."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from tidemill_core.application import Caller, PageRequest
from tidemill_core.paging import MAX_PAGE_SIZE
from tidemill_core.single_flight import SingleFlight
from tidemill_feedback.reviews.domain.agreement import ReviewerReport, Units, alpha, reviewer_reports, units_of
from tidemill_feedback.reviews.domain.item import ItemState, ReviewItem
from tidemill_feedback.reviews.domain.labels import LabelField, LabelKind
from tidemill_feedback.reviews.domain.queue import ReviewQueue
from tidemill_feedback.reviews.ports import ItemCounts, Items, Kappa, ReviewItemStore, ReviewQueueStore

_STATES = (ItemState.RESOLVED, ItemState.DISPUTED, ItemState.OPEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldAgreement:
    """How well reviewers agree on a field; None where a coefficient is not defined."""

    field: str
    items: int
    alpha: float | None
    cohen_kappa: float | None
    fleiss_kappa: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueReport:
    """Progress, and agreement over the latest items that have reviews."""

    counts: ItemCounts
    examined_items: int
    fields: Sequence[FieldAgreement]
    reviewers: Sequence[ReviewerReport]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportQueue:
    """Reads and changes nothing. The figures are made in a thread, of at most `max_items` items of each state.

    One report of a queue is made at a time: who asks meanwhile gets it, too, so that callers who do not wait and ask
    again begin no further one.
    """

    queues: ReviewQueueStore
    items: ReviewItemStore
    find: Items
    kappa: Kappa
    max_items: int
    running: SingleFlight[str, QueueReport] = field(default_factory=lambda: SingleFlight("report of a queue"))
    """By project and incarnation of a queue."""

    async def __call__(self, caller: Caller, queue_id: str) -> QueueReport:
        """Return the report.

        Raises:
            ReviewQueueNotFound: the caller's project has no such queue.

        """
        queue = await self.queues.get(caller.project, queue_id)
        key = f"{queue.project}/{queue.key}"
        return await self.running(key, lambda: self._report(queue))

    async def _report(self, queue: ReviewQueue) -> QueueReport:
        counts = await self.find.counts(queue.project, queue.key)
        items = [item for state in _STATES for item in await self._latest(queue, state) if item.reviews]
        fields, reviewers = await asyncio.to_thread(self._figures, queue, items)
        return QueueReport(counts=counts, examined_items=len(items), fields=fields, reviewers=reviewers)

    async def _latest(self, queue: ReviewQueue, state: ItemState) -> Sequence[ReviewItem]:
        found, token = list[ReviewItem](), ""
        while len(found) < self.max_items:
            size = min(MAX_PAGE_SIZE, self.max_items - len(found))
            page = await self.items.list(
                queue.project,
                page=PageRequest(size=size, token=token, newest_first=True),
                where={"queue_key": queue.key, "state": state.value},
            )
            found += [each.without_texts() for each in page.items]
            token = page.next_token
            if not token:
                break
        return found

    def _figures(
        self, queue: ReviewQueue, items: Sequence[ReviewItem]
    ) -> tuple[Sequence[FieldAgreement], Sequence[ReviewerReport]]:
        compared = [each for each in queue.spec.fields if each.compared]
        units = {each.name: units_of(each, items) for each in compared}
        fields = [self._agreement(queue, each, units[each.name]) for each in compared]
        return fields, reviewer_reports(compared, items, units)

    def _agreement(self, queue: ReviewQueue, asked: LabelField, units: Units) -> FieldAgreement:
        nominal = units if asked.kind is not LabelKind.NUMBER else {}
        return FieldAgreement(
            field=asked.name,
            items=len(units),
            alpha=alpha(asked, [[*values.values()] for values in units.values()]),
            cohen_kappa=self.kappa.cohen(nominal),
            fleiss_kappa=self.kappa.fleiss(nominal, raters=queue.slots),
        )
