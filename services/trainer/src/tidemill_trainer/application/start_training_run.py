"""Use case: start a run of a plan on request."""

from dataclasses import dataclass

from tidemill_core.application import Caller, Request, derived_id
from tidemill_core.errors import InvalidInput, NotFound, Violation
from tidemill_trainer.application.ports import Datasets, Plans, Runs
from tidemill_trainer.application.queue_run import QueueRun
from tidemill_trainer.domain.errors import PlanPaused
from tidemill_trainer.domain.training_plan import TrainingPlan
from tidemill_trainer.domain.training_run import TrainingRun


@dataclass(frozen=True, slots=True, kw_only=True)
class StartTrainingRun:
    """Emits RunWasQueued. The run's id derives from the request id."""

    plans: Plans
    runs: Runs
    datasets: Datasets
    queue: QueueRun

    async def __call__(
        self, caller: Caller, plan_id: str, *, dataset_version: str, request: Request, validate_only: bool
    ) -> TrainingRun:
        """Return the queued run; with `validate_only` the run that would be queued.

        Raises:
            TrainingPlanNotFound: the caller's project has none with this id.
            PlanPaused: a paused plan starts nothing.
            DatasetVersionNotFound: ingest has no such version.
            InvalidInput: the version is one of another dataset.
            BaseNotTrainable: the base is no set of full weights, or not ready.

        """
        name = derived_id("StartTrainingRun", caller.project, request.id)
        if known := await self._known(caller.project, name, request):
            return known
        plan = await self.plans.get(caller.project, plan_id)
        if plan.settings.paused:
            raise PlanPaused(plan.id)
        version = await self.datasets.version(caller.project, _reference(plan, dataset_version))
        self.datasets.check(caller.project, version)
        if validate_only:
            return await self.queue.would_be(plan, version, name=name)
        return await self.queue.asked_for(plan, version, name=name, request=request)

    async def _known(self, project: str, name: str, request: Request) -> TrainingRun | None:
        """Return the run that the same request queued before, even if the dataset has a newer version."""
        try:
            return await self.runs.update(project, name, lambda _run: None, request=request)
        except NotFound:
            return None


def _reference(plan: TrainingPlan, dataset_version: str) -> str:
    dataset = plan.settings.dataset
    if dataset_version and dataset_version.partition("@")[0] != dataset:
        description = f"is {dataset_version[:80]!r}; plan {plan.id} trains on versions of {dataset}"
        raise InvalidInput.of(Violation(field="dataset_version", description=description))
    return dataset_version or dataset
