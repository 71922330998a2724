"""Removes the items of deleted queues, one queue after the other."""

from datetime import timedelta

from tidemill_feedback.reviews.domain.queue import EndedQueue
from tidemill_feedback.reviews.drop_items import DropItems
from tidemill_kit.workers.controller import Controller, Holder, Pending


def ended_queues(
    drop: DropItems, *, pending: Pending[EndedQueue], leases: Holder, poll_interval: timedelta
) -> Controller[EndedQueue]:
    """Return the controller."""

    async def reconcile(ended: EndedQueue, _epoch: int) -> None:
        await drop(ended)

    return Controller(
        "review_queues",
        reconcile=reconcile,
        pending=pending,
        leases=leases,
        max_concurrent=1,
        poll_interval=poll_interval,
    )
