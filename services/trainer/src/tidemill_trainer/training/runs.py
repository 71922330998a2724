"""Start, get, list, describe, cancel, delete and retry training runs."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from tidemill_core.application import Caller, Page, PageRequest, Request, derived_id
from tidemill_core.errors import InvalidInput
from tidemill_core.resources import Write, delete, repeated, update
from tidemill_trainer.errors import PlanPaused, RunChanged
from tidemill_trainer.training.current_limits import current_limits
from tidemill_trainer.training.domain.plan import TrainingPlan, check_priority
from tidemill_trainer.training.domain.run import TrainingRun
from tidemill_trainer.training.domain.run_notes import RunNotes
from tidemill_trainer.training.ports import Datasets, Plans, Runs
from tidemill_trainer.training.queue_run import QueueRun

DESCRIBED = frozenset({"notes", "labels"})
"""What people may change of a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRunCrud:
    """Training runs. Every call raises TrainingRunNotFound if the caller's project has none with this id."""

    plans: Plans
    runs: Runs
    datasets: Datasets
    queue: QueueRun

    async def start(
        self, caller: Caller, plan_id: str, *, dataset_version: str, priority: int | None = None, write: Write
    ) -> TrainingRun:
        """Return the queued run; with `validate_only` the run that would be queued. Priority None is that of the plan.

        Raises:
            TrainingPlanNotFound: the caller's project has none with this id.
            PlanPaused: a paused plan starts nothing.
            DatasetVersionNotFound: ingest has no such version.
            ApprovalMissing: the version lacks approvals.
            InvalidInput: the version is one of another dataset, or the priority is out of range.
            BaseNotTrainable: the base is no set of full weights, or not ready.

        """
        name = derived_id("StartTrainingRun", caller.project, write.request.id)
        if known := await repeated(self.runs, caller.project, name, write.request):
            return known
        plan = await self.plans.get(caller.project, plan_id)
        if priority is not None:
            check_priority("priority", priority)
            plan.settings = replace(plan.settings, priority=priority)
        if plan.settings.paused:
            raise PlanPaused(plan.id)
        version = await self.datasets.version(caller, _reference(plan, dataset_version))
        self.datasets.check(caller.project, version)
        if write.validate_only:
            return await self.queue.preview(plan, version, name=name)
        return await self.queue.requested(caller, plan, version, name=name, request=write.request)

    async def get(self, caller: Caller, run_id: str) -> TrainingRun:
        """Return one run."""
        return await self.runs.get(caller.project, run_id)

    async def list(
        self, caller: Caller, page: PageRequest, *, plan: str, exclude_trials: bool = False
    ) -> Page[TrainingRun]:
        """Return a page of runs, only of `plan` unless it is empty; `exclude_trials` leaves out trials of sweeps."""
        where: dict[str, str | None] = {"plan": plan} if plan else {}
        if exclude_trials:
            where["trial.number"] = None
        return await self.runs.list(caller.project, page=page, where=where)

    async def describe(
        self, caller: Caller, run_id: str, given: RunNotes, changed: AbstractSet[str], write: Write
    ) -> TrainingRun:
        """Return the run with the notes or labels that `changed` names.

        Raises:
            InvalidInput: they are too long, or too many.
            RunChanged: the run is not the one that the caller saw.

        """
        given.check()
        return await update(
            self.runs,
            caller.project,
            run_id,
            lambda run: run.describe(given, changed),
            write,
            changed=RunChanged,
        )

    async def cancel(self, caller: Caller, run_id: str, *, request: Request) -> TrainingRun:
        """Return the run, cancelled; its worker notices within a second and kills the process.

        Raises:
            RunFinished: it is registering, or done.

        """
        now = self.queue.clock.now()
        return await self.runs.update(caller.project, run_id, lambda run: run.cancel(now=now), request=request)

    async def delete(self, caller: Caller, run_id: str, write: Write) -> TrainingRun:
        """Return the deleted run, which was imported.

        Raises:
            RunNotImported: it was trained here.
            RunChanged: the run is not the one that the caller saw.

        """
        return await delete(
            self.runs, caller.project, run_id, write, change=TrainingRun.refuse_trained, changed=RunChanged
        )

    async def retry(self, caller: Caller, run_id: str, *, request: Request) -> TrainingRun:
        """Return the run, queued; it resumes from its last checkpoint if its worker still has it.

        A run that has not computed yet resolves its base again; one that ran out of memory uses its plan's current
        limits.

        Raises:
            RunNotRetriable: it neither failed nor was cancelled.
            ModelNotFound, ModelVersionNotFound, BaseNotTrainable: it has not begun, and its base is still not there.

        """
        current = await self.runs.get(caller.project, run_id)
        return await self.queue.retry(
            caller, current, limits=await current_limits(self.plans, current), request=request
        )


def _reference(plan: TrainingPlan, dataset_version: str) -> str:
    dataset = plan.settings.dataset
    if dataset_version and dataset_version.partition("@")[0] != dataset:
        description = f"is {dataset_version[:80]!r}; plan {plan.id} trains on versions of {dataset}"
        raise InvalidInput.at(field="dataset_version", text=description)
    return dataset_version or dataset
