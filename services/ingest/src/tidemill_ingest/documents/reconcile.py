"""The sweeps of ingest: they remove what no document or dataset needs any more."""

from dataclasses import asdict
from datetime import timedelta

import structlog

from tidemill_core.application import Page
from tidemill_ingest.datasets.ports import DatasetName
from tidemill_ingest.datasets.sweep import SweepDatasets
from tidemill_ingest.documents.ports import SWEEP, SweepKey
from tidemill_ingest.documents.sweep import Sweep
from tidemill_kit.workers.controller import Controller, Holder, Pending

_log = structlog.get_logger(__name__)


def sweep_controller(sweep: Sweep, *, leases: Holder, poll_interval: timedelta) -> Controller[SweepKey]:
    """Return the controller that sweeps the texts of documents and what is left in quarantine."""

    async def swept(_: SweepKey, epoch: int) -> None:
        _log.info("sweep_finished", **asdict(await sweep(epoch=epoch)))

    async def pending(_: str, /, *, without: frozenset[str]) -> Page[SweepKey]:  # noqa: ARG001 - it is of no project
        return Page(items=[SWEEP])

    return Controller(
        "document_sweep", reconcile=swept, pending=pending, leases=leases, max_concurrent=1, poll_interval=poll_interval
    )


def dataset_sweep_controller(
    sweep: SweepDatasets, *, pending: Pending[DatasetName], leases: Holder, poll_interval: timedelta
) -> Controller[DatasetName]:
    """Return the controller that sweeps the parts of datasets; it shares the leases of those that make versions."""

    async def swept(name: DatasetName, epoch: int) -> None:
        if deleted := await sweep(name, epoch=epoch):
            _log.info("dataset_parts_deleted", project=name.project, dataset=name.dataset, parts=deleted)

    return Controller(
        "dataset_sweep", reconcile=swept, pending=pending, leases=leases, max_concurrent=1, poll_interval=poll_interval
    )
