"""Starts the sweeps that plans declare for new versions of their datasets."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Caller, Request, ResourceKey, derived_id
from tidemill_core.errors import AlreadyExists, InvalidInput, NotFound, PreconditionFailed, Violation
from tidemill_trainer.sweeps.domain.sweep import Sweep
from tidemill_trainer.sweeps.make_sweep import MakeSweep
from tidemill_trainer.sweeps.ports import Sweeps
from tidemill_trainer.training.domain.plan import DatasetVersion, TrainingPlan
from tidemill_trainer.training.ports import Datasets, Plans

_LONGEST_PLAN = 40
_DIGITS = 8
_FIRST, _AGAIN = "planned_sweep", "planned_sweep_again"
_ANY = DatasetVersion(id="any@1", train=ObjectRef(bucket="", key="", size=0, sha256=""), examples=0)


def sweep_id(plan: TrainingPlan, version: DatasetVersion, *, of: str = _FIRST) -> str:
    """Return the id of the sweep that a dataset version starts: the same for the same version."""
    digest = derived_id(of, plan.project, plan.id, version.id)[:_DIGITS]
    return f"{plan.id[:_LONGEST_PLAN].rstrip('_-')}-{version.number}-{digest}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedSweeps:
    """Implements `ports.PlannedSweeps` of training."""

    sweeps: Sweeps
    plans: Plans
    datasets: Datasets
    make: MakeSweep
    enqueue: Callable[[ResourceKey], None]

    async def check(self, plan: TrainingPlan) -> None:
        """See `PlannedSweeps.check`."""
        if (search := plan.settings.sweep) is None:
            return
        try:
            await self.make(plan, _ANY, search, sweep_id="checked", labels={}, origin="")
        except InvalidInput as refused:
            of_plan = (_of_plan(each) for each in refused.violations)
            raise InvalidInput.of(*of_plan) from refused

    async def started(self, plan: TrainingPlan, version: DatasetVersion) -> bool:
        """See `PlannedSweeps.started`."""
        name = sweep_id(plan, version)
        if name not in await self.sweeps.get_many(plan.project, [name]):
            return False
        self.enqueue(ResourceKey(project=plan.project, id=name))
        return True

    async def start(self, plan: TrainingPlan, version: DatasetVersion) -> None:
        """See `PlannedSweeps.start`."""
        await self._start(plan, version, of=_FIRST)

    async def again(self, sweep: Sweep) -> None:
        """Start a planned sweep whose dataset version lost examples once more, unless it cannot start any more.

        Raises:
            DependencyUnavailable: ingest does not answer.

        """
        if sweep.origin != derived_id(_FIRST, sweep.project, sweep.plan, sweep.dataset.id):
            return  # a caller created it, or it is the second one
        with suppress(InvalidInput, NotFound, PreconditionFailed):
            plan = await self.plans.get(sweep.project, sweep.plan)
            if plan.settings.dataset == sweep.dataset.dataset:
                await self._start(plan, sweep.dataset, of=_AGAIN)

    async def _start(self, plan: TrainingPlan, version: DatasetVersion, *, of: str) -> None:
        if (search := plan.settings.sweep) is None:
            return
        present = await self.datasets.version(Caller.of_service(plan.project, "trainer"), version.id)
        version = replace(version, train=present.train, examples=present.examples)  # examples may have been erased
        name, origin = sweep_id(plan, version, of=of), derived_id(of, plan.project, plan.id, version.id)
        sweep = await self.make(plan, version, search, sweep_id=name, labels=plan.settings.labels, origin=origin)
        with suppress(AlreadyExists):  # redelivered event
            await self.sweeps.add(sweep, request=Request(id=f"start:{name}", digest=origin))
        self.enqueue(ResourceKey(project=plan.project, id=name))


def _of_plan(violation: Violation) -> Violation:
    if not violation.field.startswith("sweep."):
        return violation
    return Violation(f"plan.{violation.field}".removesuffix(".plan"), violation.description)
