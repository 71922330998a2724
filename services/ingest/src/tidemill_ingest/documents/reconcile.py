"""The sweep of documents."""

from dataclasses import asdict
from datetime import timedelta

import structlog

from tidemill_core.application import Page
from tidemill_ingest.documents.ports import SWEEP, SweepKey
from tidemill_ingest.documents.sweep import Sweep
from tidemill_kit.workers.controller import Controller, Holder

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
