"""Builds derivations on the registry."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from tidemill.trainer.v1.derivation_service_pb2_grpc import add_DerivationServiceServicer_to_server
from tidemill_core.application import ResourceKey, SystemClock
from tidemill_kit.grpc.server import Registration
from tidemill_kit.service.backend import Backend
from tidemill_kit.workers.controller import Controller
from tidemill_kit.workers.leases import Leases
from tidemill_trainer.derivations.crud import DerivationCrud
from tidemill_trainer.derivations.derivation_folders import DerivationFolders
from tidemill_trainer.derivations.derive_version import DeriveVersion
from tidemill_trainer.derivations.deriving_processes import DerivingProcesses
from tidemill_trainer.derivations.errors import DerivationNotFound
from tidemill_trainer.derivations.grpc import GrpcDerivationService
from tidemill_trainer.derivations.mongo import DERIVATIONS, pending_derivations
from tidemill_trainer.derivations.ports import Calibrations
from tidemill_trainer.derivations.ports import Derivations as DerivationStore
from tidemill_trainer.registry.wiring import Registry
from tidemill_trainer.settings import DERIVATIONS_FOLDER, TrainerSettings

TOPIC = "tidemill.trainer.run.v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Derivations:
    """Entry points of derivations."""

    service: Registration
    controller: Controller[ResourceKey]
    derivations: DerivationStore
    leases: Leases


def wire_derivations(
    backend: Backend, settings: TrainerSettings, registry: Registry, calibrations: Calibrations
) -> Derivations:
    """Build derivations on the registry, and on where methods find examples."""
    clock = SystemClock()
    derivations = backend.aggregates(
        "derivations",
        DERIVATIONS,
        missing=DerivationNotFound,
        topic=TOPIC,
        lists=[("model",), ("state",)],
        quota=settings.quota("derivations"),
    )
    folders = DerivationFolders(settings.data_dir / DERIVATIONS_FOLDER)
    backend.on_start(partial(asyncio.to_thread, folders.prepare))
    derive = DeriveVersion(
        derivations=derivations,
        sources=registry.shared,
        files=registry.files,
        calibrations=calibrations,
        folders=folders,
        deriving=DerivingProcesses(
            memory_bytes=settings.derivation_memory_bytes,
            time_s=settings.derivation_time_s,
            max_file_bytes=settings.max_file_bytes,
            threads=settings.run_threads,
        ),
        inspector=registry.inspector,
        register=registry.register,
        max_fruitless=settings.derivation_fruitless_attempts,
        clock=clock,
    )
    leases = backend.leases("derivation_leases")
    controller = Controller(
        "derivations",
        reconcile=lambda derivation, epoch: derive(derivation, epoch=epoch),
        pending=backend.indexed(pending_derivations(backend.database["derivations"])),
        leases=leases,
        max_concurrent=settings.derivation_max_concurrent,
        poll_interval=timedelta(seconds=settings.derivation_poll_interval_s),
    )
    crud = DerivationCrud(
        derivations=derivations,
        sources=registry.shared,
        approvals=registry.approvals,
        calibrations=calibrations,
        clock=clock,
        enqueue=controller.enqueue,
    )
    return Derivations(
        service=(add_DerivationServiceServicer_to_server, GrpcDerivationService(crud)),
        controller=controller,
        derivations=derivations,
        leases=leases,
    )
