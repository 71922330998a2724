"""The composition root: the only module that sees all features."""

from tidemill_core.application import ResourceKey
from tidemill_kit.service.app import App
from tidemill_kit.service.backend import Backend
from tidemill_trainer.derivations.wiring import wire_derivations
from tidemill_trainer.erasure import erasures, folders_of_deleted_projects
from tidemill_trainer.registry.wiring import wire_registry
from tidemill_trainer.settings import TrainerSettings
from tidemill_trainer.sweeps.wiring import wire_sweeps
from tidemill_trainer.training.wiring import wire_training


async def build_app(settings: TrainerSettings) -> App:
    """Build trainer on the running event loop; nothing connects before `start`."""
    backend = Backend(settings)
    registry = wire_registry(backend, settings)

    def notify_sweep(sweep: ResourceKey) -> None:
        sweeps.controller.enqueue(sweep)

    training = wire_training(backend, settings, registry, notify_sweep=notify_sweep)
    sweeps = wire_sweeps(backend, settings, training)
    derivations = wire_derivations(backend, settings, registry)
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
