"""In-memory harness of sweeps, on that of training."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from services.trainer.tests.registry.fakes import ADA
from services.trainer.tests.training.fakes import Harness, dataset_version, request
from tidemill_core.application import ResourceKey
from tidemill_core.resources import Write
from tidemill_testkit.stores import InMemoryAggregates
from tidemill_trainer.errors import SweepNotFound
from tidemill_trainer.sweeps.conduct_sweep import ConductSweep
from tidemill_trainer.sweeps.crud import SweepCrud, SweepRequest
from tidemill_trainer.sweeps.domain.space import Point
from tidemill_trainer.sweeps.domain.sweep import Sweep, SweepTrial
from tidemill_trainer.sweeps.make_sweep import MakeSweep
from tidemill_trainer.sweeps.mongo import SWEEPS
from tidemill_trainer.sweeps.planned_sweeps import PlannedSweeps
from tidemill_trainer.training.domain.search import Budget, Dimension, Pruning, Range, Search
from tidemill_trainer.training.ports import TrainingJob

KEY = ResourceKey(project="acme", id="rates")
RATES = Dimension(setting="args.learning_rate", range=Range(low=1e-4, high=1e-2, log=True))
RANKS = Dimension(setting="lora.r", choices=(4.0, 8.0, 16.0))


def sweep_request(**changes: object) -> SweepRequest:
    """Return the request of a sweep over learning rates."""
    said: dict[str, object] = {"id": "rates", "labels": {}, "plan": "lora", "dataset_version": ""}
    search: dict[str, object] = {
        "space": (RATES,),
        "max_trials": 4,
        "max_parallel": 1,
        "held_out": 0.25,
        "measurements": 2,
        "pruning": Pruning(keep_percent=100.0),
        "budget": Budget(),
        "seed": 0,
    }
    search |= {name: value for name, value in changes.items() if name in search}
    said |= {name: value for name, value in changes.items() if name not in search}
    return SweepRequest(search=Search(**search), **said)  # type: ignore[arg-type] # each test gives what the field takes


@dataclass(kw_only=True)
class ScriptedSearch:
    """Suggests the points it was given, in turn; ends the running trials that `prune` names."""

    points: Sequence[Point] = ((1e-4,), (1e-3,), (5e-3,), (1e-2,))
    prune: Callable[[SweepTrial], bool] = lambda _trial: False

    async def suggest(self, sweep: Sweep) -> Point:
        return self.points[len(sweep.trials)]

    async def hopeless(self, sweep: Sweep) -> list[SweepTrial]:
        return [trial for trial in sweep.running if self.prune(trial)]


def loss_by_rate(job: TrainingJob) -> Sequence[float]:
    """Return held-out losses that are lowest at a learning rate of 1e-3."""
    loss = 1.0 + abs(float(str(job.recipe.args["learning_rate"])) - 1e-3)
    return (loss + 1, loss)


@dataclass(kw_only=True)
class Sweeping:
    """The use cases of sweeps."""

    folder: Path
    search: ScriptedSearch = field(default_factory=ScriptedSearch)
    enqueued: list[ResourceKey] = field(default_factory=list)
    """Runs that a worker is asked for."""
    notified: list[ResourceKey] = field(default_factory=list)
    """Sweeps that plans started, or started before."""
    epoch: int = 0

    def __post_init__(self) -> None:
        self.training = Harness(folder=self.folder)
        clock = self.training.registry.clock
        self.sweeps = InMemoryAggregates[Sweep](codec=SWEEPS, missing=SweepNotFound, clock=clock)
        make = MakeSweep(check=self.training.plan_crud.check, max_trials=100)
        self.planned = PlannedSweeps(
            sweeps=self.sweeps,
            plans=self.training.plans,
            datasets=self.training.datasets,
            make=make,
            enqueue=self.notified.append,
        )
        self.training.planned_sweeps.built = self.planned
        self.crud = SweepCrud(
            sweeps=self.sweeps,
            plans=self.training.plans,
            datasets=self.training.datasets,
            make=make,
            clock=clock,
            enqueue=lambda _key: None,
        )
        self.conduct = ConductSweep(
            sweeps=self.sweeps,
            runs=self.training.runs,
            plans=self.training.plans,
            search=self.search,
            max_failed=3,
            clock=clock,
            enqueue_run=self.enqueued.append,
            again=self.planned.again,
        )
        self.training.trainings.held_out = loss_by_rate

    async def ready(self) -> "Sweeping":
        """Register the base, create the plan `lora` and publish a version of its dataset."""
        self.folder.mkdir(exist_ok=True)
        await self.training.with_base()
        await self.training.plan()
        self.training.datasets.publish(dataset_version())
        return self

    async def create(self, **changes: object) -> Sweep:
        return await self.crud.create(ADA, sweep_request(**changes), Write(request=request()))

    async def reconcile(self, name: str = KEY.id) -> Sweep:
        """Conduct the sweep once, with the next epoch of its lease."""
        self.epoch += 1
        await self.conduct(replace(KEY, id=name), epoch=self.epoch)
        return await self.sweeps.get(KEY.project, name)

    async def train(self) -> None:
        """Train every run that a worker was asked for."""
        while self.enqueued:
            await self.training.train(self.enqueued.pop(0))

    async def conclude(self, name: str = KEY.id) -> Sweep:
        """Reconcile and train until the sweep is closed."""
        while (sweep := await self.reconcile(name)).open:
            assert self.enqueued, sweep
            await self.train()
        return sweep

    @property
    def registered(self) -> Sequence[str]:
        """The model versions besides the base."""
        return [each.id for each in self.training.registry.versions.all() if each.model == "lora"]
