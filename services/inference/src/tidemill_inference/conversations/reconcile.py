"""Works on conversations in the background: answers never wait for it."""

from datetime import timedelta

from tidemill_core.application import ResourceKey
from tidemill_inference.conversations.work import WorkOnConversation
from tidemill_kit.workers.controller import Controller, Holder, Pending


def working(
    work: WorkOnConversation,
    pending: Pending[ResourceKey],
    *,
    leases: Holder,
    max_concurrent: int,
    poll_interval: timedelta,
) -> Controller[ResourceKey]:
    """Return the controller."""
    return Controller(
        "conversations",
        reconcile=lambda key, epoch: work(key, epoch=epoch),
        pending=pending,
        leases=leases,
        max_concurrent=max_concurrent,
        poll_interval=poll_interval,
    )
