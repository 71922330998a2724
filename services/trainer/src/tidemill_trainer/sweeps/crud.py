"""Create, get, list, cancel and delete sweeps."""

from collections.abc import Callable
from dataclasses import dataclass

from tidemill_core.application import Caller, Clock, Page, PageRequest, Request, ResourceKey, derived_id
from tidemill_core.errors import InvalidInput
from tidemill_core.resources import Write, create, delete
from tidemill_trainer.errors import PlanPaused, SweepChanged
from tidemill_trainer.sweeps.domain.sweep import Sweep
from tidemill_trainer.sweeps.make_sweep import MakeSweep
from tidemill_trainer.sweeps.ports import Sweeps
from tidemill_trainer.training.domain.plan import TrainingPlan
from tidemill_trainer.training.domain.search import Search
from tidemill_trainer.training.ports import Datasets, Plans


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRequest:
    """What a caller asks of a new sweep, with the defaults of what is left out."""

    id: str
    labels: dict[str, str]
    plan: str
    dataset_version: str
    search: Search


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepCrud:
    """Sweeps. Every call but `create` raises SweepNotFound if the caller's project has none with this id."""

    sweeps: Sweeps
    plans: Plans
    datasets: Datasets
    make: MakeSweep
    clock: Clock
    enqueue: Callable[[ResourceKey], None]

    async def create(self, caller: Caller, asked: SweepRequest, write: Write) -> Sweep:
        """Return the new sweep; repeating the request returns the same sweep. The id of a deleted one may be reused.

        Raises:
            InvalidInput: names field, value and what is allowed.
            TrainingPlanNotFound: the caller's project has no such plan.
            PlanPaused: a paused plan starts nothing.
            DatasetVersionNotFound: ingest has no such version.
            ApprovalMissing: the version lacks approvals.
            BaseNotTrainable: the base is no set of full weights, or not ready.
            RecipeNotForBase: a choice asks for what the base does not have.
            AlreadyExists: the id is taken.

        """
        plan = await self.plans.get(caller.project, asked.plan)
        if plan.settings.paused:
            raise PlanPaused(plan.id)
        sweep = await self._sweep(caller, plan, asked, write.request)
        created = await create(self.sweeps, sweep, write)
        if not write.validate_only:
            self.enqueue(ResourceKey(project=created.project, id=created.id))
        return created

    async def get(self, caller: Caller, sweep_id: str) -> Sweep:
        """Return one sweep."""
        return await self.sweeps.get(caller.project, sweep_id)

    async def list(self, caller: Caller, page: PageRequest) -> Page[Sweep]:
        """Return a page of sweeps."""
        return await self.sweeps.list(caller.project, page=page)

    async def cancel(self, caller: Caller, sweep_id: str, *, request: Request) -> Sweep:
        """Return the sweep, cancelled; its controller cancels what is in work.

        Raises:
            SweepFinished: it has ended.

        """
        now = self.clock.now()
        cancelled = await self.sweeps.update(
            caller.project, sweep_id, lambda sweep: sweep.cancel(now=now), request=request
        )
        self.enqueue(ResourceKey(project=cancelled.project, id=cancelled.id))
        return cancelled

    async def delete(self, caller: Caller, sweep_id: str, write: Write) -> Sweep:
        """Return the deleted sweep; its runs and its model version are kept.

        Raises:
            SweepUnfinished: it may have runs in work.
            SweepChanged: it changed since the etag.

        """
        return await delete(
            self.sweeps, caller.project, sweep_id, write, change=Sweep.refuse_open, changed=SweepChanged
        )

    async def _sweep(self, caller: Caller, plan: TrainingPlan, asked: SweepRequest, request: Request) -> Sweep:
        dataset = plan.settings.dataset
        if asked.dataset_version and asked.dataset_version.partition("@")[0] != dataset:
            text = f"is {asked.dataset_version[:80]!r}; plan {plan.id} trains on versions of {dataset}"
            raise InvalidInput.at(field="sweep.dataset_version", text=text)
        version = await self.datasets.version(caller, asked.dataset_version or dataset)
        self.datasets.check(caller.project, version)
        return await self.make(
            plan,
            version,
            asked.search,
            sweep_id=asked.id,
            labels=asked.labels,
            origin=derived_id("sweep", caller.project, asked.id, request.id),
            requester=caller.proven_subject,
        )
