"""The controller that polls sources."""

from datetime import timedelta

from tidemill_core.application import ResourceKey
from tidemill_ingest.polling.poll_source import PollSource
from tidemill_kit.workers.controller import Controller, Holder, Pending


def polling_controller(
    poll: PollSource,
    *,
    pending: Pending[ResourceKey],
    leases: Holder,
    poll_interval: timedelta,
    max_concurrent: int,
) -> Controller[ResourceKey]:
    """Return the controller that polls what is due, and passes over deleted projects."""
    return Controller(
        "source_polls",
        reconcile=lambda name, epoch: poll(name, epoch=epoch),
        pending=pending,
        leases=leases,
        max_concurrent=max_concurrent,
        poll_interval=poll_interval,
        deleted=poll.projects.deleted,
    )
