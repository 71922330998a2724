"""The composition root: the only module that sees both features."""

from tidemill_kit.service.app import App
from tidemill_kit.service.backend import Backend
from tidemill_trainer.erasure import erasures, folders_of_deleted_projects
from tidemill_trainer.registry.wiring import wire_registry
from tidemill_trainer.settings import TrainerSettings
from tidemill_trainer.training.wiring import wire_training


async def build_app(settings: TrainerSettings) -> App:
    """Build trainer on the running event loop; nothing connects before `start`."""
    backend = Backend(settings)
    registry = wire_registry(backend, settings)
    training = wire_training(backend, settings, registry)
    return backend.app(
        servicers=[registry.service, training.service],
        consumers=[registry.subscription, training.subscription],
        workers=[registry.imports, *training.workers, folders_of_deleted_projects(backend, settings.data_dir)],
        erasures=erasures(backend, settings, registry, training),
    )
