"""Sweeps the working folders of runs."""

import asyncio
from collections.abc import Callable, Collection

import structlog

from tidemill_core.application import ResourceKey
from tidemill_trainer.training.ports import Folders

_log = structlog.get_logger()

SWEEP_EVERY_S = 600.0


async def sweep_folders(
    folders: Folders, busy: Callable[[], Collection[ResourceKey]], *, every_s: float = SWEEP_EVERY_S
) -> None:
    """Delete users' texts that killed workers left on disk, at the start and periodically, until cancelled."""
    while True:
        try:
            await folders.sweep(busy)
        except OSError as error:
            _log.warning("training_folders_not_swept", why=error.strerror)
        await asyncio.sleep(every_s)
