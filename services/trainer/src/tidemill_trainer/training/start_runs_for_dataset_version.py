"""Starts training runs, or the sweeps that plans declare, for a new dataset version."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from tidemill_core.application import Caller, Request
from tidemill_core.errors import NotFound
from tidemill_core.resources import list_all
from tidemill_trainer.errors import DatasetVersionNotFound
from tidemill_trainer.training.domain.plan import DatasetVersion, TrainingPlan
from tidemill_trainer.training.ports import Datasets, Plans
from tidemill_trainer.training.start_deferred_run import StartDeferredRun


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRunsForDatasetVersion:
    """Starts a run or a sweep of each plan of the dataset; a paused plan stores the version as deferred.

    `readers` are the projects that the dataset is shared with, whose plans name it as `project/dataset`.

    The ids of run and sweep derive from plan and version, so a redelivered event starts no second one. An older
    deferred version is replaced.
    """

    plans: Plans
    datasets: Datasets
    start_deferred: StartDeferredRun
    readers: Callable[[str, str], Sequence[str]] = lambda _project, _dataset: ()

    async def __call__(self, caller: Caller, version: DatasetVersion) -> None:
        """Start a run or a sweep of each plan of the dataset.

        Raises:
            PermissionDenied: the train split is not in a location allowed for this project.

        """
        owner = caller.project
        await self._start_in(owner, version)
        for reader in self.readers(owner, version.dataset):
            with suppress(DatasetVersionNotFound):  # its grant was revoked meanwhile; continue with the others
                await self._start_in(reader, replace(version, id=f"{owner}/{version.id}"))

    async def _start_in(self, project: str, version: DatasetVersion) -> None:
        self.datasets.check(project, version)
        async for plan in list_all(self.plans, project, where={"dataset": version.dataset}):
            with suppress(NotFound):  # deleted meanwhile; continue with the other plans
                await self._start(plan, version)

    async def _start(self, plan: TrainingPlan, version: DatasetVersion) -> None:
        if plan.settings.paused:
            plan = await self.plans.update(
                plan.project, plan.id, lambda plan: plan.defer(version), request=Request.internal()
            )
        if not plan.settings.paused:  # it may have been resumed meanwhile
            await self.start_deferred.start(plan, version)
