"""The composition root: the only module that sees all features."""

from dataclasses import dataclass
from pathlib import Path

from tidemill_core.application import Caller, ResourceKey
from tidemill_kit.service.app import App
from tidemill_kit.service.backend import Backend
from tidemill_trainer.derivations.wiring import wire_derivations
from tidemill_trainer.erasure import erasures, folders_of_deleted_projects
from tidemill_trainer.registry.wiring import wire_registry
from tidemill_trainer.settings import TrainerSettings
from tidemill_trainer.sweeps.wiring import Sweeps, wire_sweeps
from tidemill_trainer.training.domain.plan import DatasetVersion, TrainingPlan
from tidemill_trainer.training.ports import Datasets
from tidemill_trainer.training.wiring import wire_training


@dataclass(slots=True)
class _SweepsOfPlans:
    """Implements training's `ports.PlannedSweeps`: sweeps are built on training, which starts them."""

    built: Sweeps | None = None

    async def check(self, plan: TrainingPlan) -> None:
        assert self.built  # noqa: S101 - nothing is served before all is built
        await self.built.planned.check(plan)

    async def started(self, plan: TrainingPlan, version: DatasetVersion) -> bool:
        assert self.built  # noqa: S101 - ditto
        return await self.built.planned.started(plan, version)

    async def start(self, plan: TrainingPlan, version: DatasetVersion) -> None:
        assert self.built  # noqa: S101 - ditto
        await self.built.planned.start(plan, version)


@dataclass(frozen=True, slots=True)
class _Calibrations:
    """Implements derivations' `ports.Calibrations` by the dataset versions of training."""

    datasets: Datasets

    async def resolve(self, caller: Caller, reference: str) -> str:
        return (await self.datasets.version(caller, reference)).id

    async def fetch(self, project: str, version: str, target: Path) -> None:
        found = await self.datasets.version(Caller.of_service(project, "trainer"), version)
        await self.datasets.fetch(project, found, target)


async def build_app(settings: TrainerSettings) -> App:
    """Build trainer on the running event loop; nothing connects before `start`."""
    backend = Backend(settings)
    registry = wire_registry(backend, settings)
    planned = _SweepsOfPlans()

    def notify_sweep(sweep: ResourceKey) -> None:
        sweeps.controller.enqueue(sweep)

    training = wire_training(backend, settings, registry, planned_sweeps=planned, notify_sweep=notify_sweep)
    planned.built = sweeps = wire_sweeps(backend, settings, training)
    derivations = wire_derivations(backend, settings, registry, _Calibrations(training.datasets))
    return backend.app(
        servicers=[registry.service, training.service, sweeps.service, derivations.service],
        consumers=[registry.subscription, training.subscription],
        workers=[
            registry.imports,
            *training.workers,
            sweeps.controller,
            derivations.controller,
            folders_of_deleted_projects(backend, settings.data_dir),
        ],
        erasures=erasures(backend, settings, registry, training, sweeps, derivations),
    )
