"""Start the runs that a new version of a dataset asks for."""

from contextlib import suppress
from dataclasses import dataclass

from tidemill_kit.core.application import PageRequest, Request
from tidemill_kit.core.errors import NotFound
from tidemill_trainer.application.ports import Datasets, Plans
from tidemill_trainer.application.start_deferred_run import StartDeferredRun
from tidemill_trainer.domain.training_plan import DatasetVersion, TrainingPlan

BATCH_SIZE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRunsForDatasetVersion:
    """Emits RunWasQueued for each plan of the dataset; a paused plan remembers the version instead.

    A run's id derives from plan and version: however often the event comes, there is one run. An older version that
    the plan still owes of a pause is not trained any more.
    """

    plans: Plans
    datasets: Datasets
    start_deferred: StartDeferredRun

    async def __call__(self, project: str, version: DatasetVersion) -> None:
        """Queue the runs.

        Raises:
            PermissionDenied: the train part lies elsewhere than where this project's may lie.

        """
        self.datasets.check(project, version)
        token = ""
        while True:
            page = await self.plans.list(project, page=PageRequest(size=BATCH_SIZE, token=token))
            for plan in page.items:
                if plan.settings.dataset == version.dataset:
                    with suppress(NotFound):  # it was deleted meanwhile: the other plans go on
                        await self._start(plan, version)
            token = page.next_token
            if not token:
                return

    async def _start(self, plan: TrainingPlan, version: DatasetVersion) -> None:
        if plan.settings.paused:
            plan = await self.plans.update(
                plan.project, plan.id, lambda plan: plan.defer(version), request=Request.internal()
            )
        if not plan.settings.paused:  # perhaps it was let go on meanwhile
            await self.start_deferred.start(plan, version)
