"""Builds sweeps on training."""

from dataclasses import dataclass
from datetime import timedelta

from tidemill.trainer.v1.sweep_service_pb2_grpc import add_SweepServiceServicer_to_server
from tidemill_core.application import ResourceKey, SystemClock
from tidemill_kit.grpc.server import Registration
from tidemill_kit.service.backend import Backend
from tidemill_kit.workers.controller import Controller
from tidemill_kit.workers.leases import Leases
from tidemill_trainer.errors import SweepNotFound
from tidemill_trainer.settings import TrainerSettings
from tidemill_trainer.sweeps.conduct_sweep import ConductSweep
from tidemill_trainer.sweeps.crud import SweepCrud
from tidemill_trainer.sweeps.grpc import GrpcSweepService
from tidemill_trainer.sweeps.make_sweep import MakeSweep
from tidemill_trainer.sweeps.mongo import SWEEPS, open_sweeps
from tidemill_trainer.sweeps.optuna_search import OptunaSearch
from tidemill_trainer.sweeps.planned_sweeps import PlannedSweeps
from tidemill_trainer.sweeps.ports import Sweeps as SweepStore
from tidemill_trainer.training.wiring import TOPIC, Training


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweeps:
    """Entry points of sweeps."""

    service: Registration
    controller: Controller[ResourceKey]
    planned: PlannedSweeps
    sweeps: SweepStore
    leases: Leases


def wire_sweeps(backend: Backend, settings: TrainerSettings, training: Training) -> Sweeps:
    """Build sweeps on training."""
    sweeps = backend.aggregates(
        "sweeps",
        SWEEPS,
        missing=SweepNotFound,
        topic=TOPIC,
        lists=[("plan",), ("state",)],
        quota=settings.quota("sweeps"),
    )
    make = MakeSweep(check=training.check, max_trials=settings.sweep_max_trials)

    def notify(sweep: ResourceKey) -> None:
        controller.enqueue(sweep)

    planned = PlannedSweeps(
        sweeps=sweeps,
        plans=training.plans,
        datasets=training.datasets,
        make=make,
        enqueue=notify,
    )
    conduct = ConductSweep(
        sweeps=sweeps,
        runs=training.runs,
        plans=training.plans,
        search=OptunaSearch(),
        max_failed=settings.sweep_max_failed_trials,
        clock=SystemClock(),
        enqueue_run=training.enqueue,
        again=planned.again,
    )
    leases = backend.leases("sweep_leases")
    controller = Controller(
        "sweeps",
        reconcile=lambda sweep, epoch: conduct(sweep, epoch=epoch),
        pending=backend.indexed(open_sweeps(backend.database["sweeps"])),
        leases=leases,
        max_concurrent=settings.sweep_max_concurrent,
        poll_interval=timedelta(seconds=settings.sweep_poll_interval_s),
    )
    crud = SweepCrud(
        sweeps=sweeps,
        plans=training.plans,
        datasets=training.datasets,
        make=make,
        clock=SystemClock(),
        enqueue=controller.enqueue,
    )
    return Sweeps(
        service=(add_SweepServiceServicer_to_server, GrpcSweepService(crud)),
        controller=controller,
        planned=planned,
        sweeps=sweeps,
        leases=leases,
    )
