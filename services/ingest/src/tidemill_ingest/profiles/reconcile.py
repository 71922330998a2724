"""Counting stored versions."""

from datetime import timedelta

from tidemill_core.application import Requeue, ResourceKey
from tidemill_ingest.profiles.count_versions import CountVersions
from tidemill_kit.workers.controller import Controller, Holder, Pending

_DEBOUNCE = timedelta(seconds=1)
"""What is stored within this time is counted together."""


def profiles_controller(
    count: CountVersions, *, pending: Pending[ResourceKey], leases: Holder, poll_interval: timedelta
) -> Controller[ResourceKey]:
    """Return the controller that counts the versions of sources."""

    async def counted(name: ResourceKey, _: int) -> Requeue | None:
        return await count(name.project, name.id)

    return Controller(
        "source_profiles",
        reconcile=counted,
        pending=pending,
        leases=leases,
        max_concurrent=2,
        poll_interval=poll_interval,
        debounce=_DEBOUNCE,
    )
