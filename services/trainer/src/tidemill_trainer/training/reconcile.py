"""Sweeps the working folders of runs."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection

import structlog

from tidemill_core.application import ResourceKey
from tidemill_core.errors import DependencyUnavailable
from tidemill_trainer.training.ports import Folders, Runs
from tidemill_trainer.training.run_queue import RunQueue

_log = structlog.get_logger()

SWEEP_EVERY_S = 600.0


async def sweep_folders(
    folders: Folders, runs: Runs, busy: Callable[[], Collection[ResourceKey]], *, every_s: float = SWEEP_EVERY_S
) -> None:
    """Delete users' texts that killed workers left on disk, at the start and periodically, until cancelled."""
    while True:
        try:
            await remove_ended_trials(folders, runs)
        except DependencyUnavailable as unavailable:
            _log.warning("training_folders_not_read", why=unavailable.message)
        try:
            await folders.sweep(busy)
        except OSError as error:
            _log.warning("training_folders_not_swept", why=error.strerror)
        await asyncio.sleep(every_s)


async def refresh_queue(queue: RunQueue, serve: Callable[[], None], *, every_s: float) -> None:
    """Forget runs that wait no more, and ask those that do whether there is capacity for them, until cancelled."""
    while True:
        await asyncio.sleep(every_s)
        try:
            await queue.refresh()
        except DependencyUnavailable as unavailable:
            _log.warning("waiting_runs_not_read", why=unavailable.message)
        serve()


async def remove_ended_trials(folders: Folders, runs: Runs) -> None:
    """Delete the folders of trials that ended while they had no worker: nothing resumes them."""
    names = defaultdict[str, list[str]](list)
    for key in await folders.found():
        names[key.project].append(key.id)
    for project, found in names.items():
        for run in (await runs.get_many(project, found)).values():
            if run.trial and not run.is_in_work:
                await folders.remove(ResourceKey(project=project, id=run.id))
