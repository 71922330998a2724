"""The sweep of ingest: it removes what no document or dataset needs any more."""

import asyncio
from dataclasses import asdict

import structlog

from tidemill_core.errors import DependencyUnavailable
from tidemill_ingest.application.sweep import Sweep
from tidemill_ingest.application.sweep_datasets import SweepDatasets

_log = structlog.get_logger(__name__)


async def sweep_for_ever(sweep: Sweep, datasets: SweepDatasets, *, every_s: float) -> None:
    """Sweep at once and then again and again; a dependency that is down is met again next time."""
    while True:
        try:
            swept = await sweep()
            parts = await datasets()
        except DependencyUnavailable as error:
            _log.warning("sweep_postponed", dependency=error.dependency, why=error.message)
        else:
            _log.info("sweep_finished", **asdict(swept), dataset_parts=parts)
        await asyncio.sleep(every_s)
