"""The sweep of datasets."""

from datetime import timedelta

import structlog

from tidemill_core.application import ResourceKey
from tidemill_ingest.datasets.sweep import SweepDatasets
from tidemill_kit.workers.controller import Controller, Holder, Pending

_log = structlog.get_logger(__name__)


def sweep_controller(
    sweep: SweepDatasets, *, pending: Pending[ResourceKey], leases: Holder, poll_interval: timedelta
) -> Controller[ResourceKey]:
    """Return the controller that sweeps the parts of datasets; it shares the leases of those that make versions."""

    async def swept(name: ResourceKey, epoch: int) -> None:
        if deleted := await sweep(name, epoch=epoch):
            _log.info("dataset_parts_deleted", project=name.project, dataset=name.id, parts=deleted)

    return Controller(
        "dataset_sweep", reconcile=swept, pending=pending, leases=leases, max_concurrent=1, poll_interval=poll_interval
    )
