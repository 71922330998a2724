"""What trainer erases of a deleted project.

There are no steps for an end user or a document. Text of users is on a trainer's disk only while a run is at work
(`TRAINER_RUN_TIME_S` at most, and removed at the next sweep where its process was killed); weights that were trained on
it stay, with the dataset version that they name.
"""

from pathlib import Path

from tidemill_core.application import SystemClock
from tidemill_kit.erasure.documents import documents
from tidemill_kit.erasure.folders import folders, sweep_folders
from tidemill_kit.erasure.objects import objects
from tidemill_kit.erasure.steps import Scope, Step, Steps
from tidemill_kit.service.backend import Backend
from tidemill_kit.workers.worker import Worker
from tidemill_trainer.registry.erasure import EraseVersions
from tidemill_trainer.registry.wiring import Registry
from tidemill_trainer.settings import TrainerSettings
from tidemill_trainer.training.erasure import EraseRuns
from tidemill_trainer.training.wiring import Training

UPLOADS, DOWNLOADS, BASES, RUNS = "uploads", "downloads", "bases", "runs"
"""The folders of TRAINER_DATA_DIR. Uploads are files of calls in progress, which end with the project."""


def erasures(backend: Backend, settings: TrainerSettings, registry: Registry, training: Training) -> Steps:
    """Return the steps: first what starts work and has work done, then what that leaves."""
    database, data = backend.database, settings.data_dir
    runs = EraseRuns(
        runs=training.runs,
        collection=database["training_runs"],
        leases=training.leases,
        clock=SystemClock(),
    )
    versions = EraseVersions(
        versions=registry.versions,
        collection=database["model_versions"],
        leases=registry.leases,
    )
    return {
        Scope.PROJECT: [
            documents("training plans", database["training_plans"]),
            Step(kind="training runs", erase=runs, covers=("training_runs",)),
            folders("run folders", data / RUNS),
            Step(kind="model versions", erase=versions, covers=("model_versions",)),
            documents("models", database["models"]),
            folders("local copies of models", data / BASES),
            folders("downloads", data / DOWNLOADS, covers=("folder:data_dir",)),
            objects("model files", backend.objects, settings.exchange_bucket),
        ]
    }


def folders_of_deleted_projects(backend: Backend, data_dir: Path) -> Worker:
    """Return the sweep of this process's own disk, where another one does the steps."""
    deleted = backend.access.revocations.deleted
    roots = [data_dir / name for name in (RUNS, BASES, DOWNLOADS)]
    return Worker("deleted_projects", lambda: sweep_folders(roots, deleted=deleted, spares=backend.holds.spares))
