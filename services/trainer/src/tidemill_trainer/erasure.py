"""What trainer erases of a deleted project.

There are no steps for an end user or a document. Text of users is on a trainer's disk only while a run is at work
(`TRAINER_RUN_TIME_S` at most, and removed at the next sweep where its process was killed); weights that were trained on
it stay, with the dataset version that they name.
"""

from pathlib import Path

from tidemill_core.application import SystemClock
from tidemill_kit.erasure.documents import documents, documents_of_jobs
from tidemill_kit.erasure.folders import folders, sweep_folders
from tidemill_kit.erasure.objects import objects
from tidemill_kit.erasure.steps import Scope, Steps
from tidemill_kit.service.backend import Backend
from tidemill_kit.workers.worker import Worker
from tidemill_trainer.derivations.erasure import CancelDerivations
from tidemill_trainer.derivations.wiring import Derivations
from tidemill_trainer.registry.erasure import DiscardImports
from tidemill_trainer.registry.wiring import Registry
from tidemill_trainer.settings import (
    BASES_FOLDER,
    DERIVATIONS_FOLDER,
    DOWNLOADS_FOLDER,
    RUNS_FOLDER,
    TrainerSettings,
)
from tidemill_trainer.sweeps.erasure import CancelSweeps
from tidemill_trainer.sweeps.wiring import Sweeps
from tidemill_trainer.training.erasure import CancelRuns
from tidemill_trainer.training.wiring import Training


def erasures(  # noqa: PLR0913, PLR0917 - every feature has something to erase
    backend: Backend,
    settings: TrainerSettings,
    registry: Registry,
    training: Training,
    sweeps: Sweeps,
    derivations: Derivations,
) -> Steps:
    """Return the steps: first what starts work and has work done, then what that leaves."""
    database, data = backend.database, settings.data_dir
    runs, versions = database["training_runs"], database["model_versions"]
    end_sweeps = CancelSweeps(sweeps=sweeps.sweeps, clock=SystemClock())
    cancel = CancelRuns(runs=training.runs, clock=SystemClock())
    end_derivations = CancelDerivations(derivations=derivations.derivations, clock=SystemClock())
    discard = DiscardImports(versions=registry.versions)
    return {
        Scope.PROJECT: [
            documents("training plans", database["training_plans"]),
            documents_of_jobs("sweeps", database["sweeps"], end=end_sweeps, leases=sweeps.leases),
            documents_of_jobs("training runs", runs, end=cancel, leases=training.leases),
            folders("run folders", data / RUNS_FOLDER),
            documents_of_jobs("derivations", database["derivations"], end=end_derivations, leases=derivations.leases),
            folders("derivation folders", data / DERIVATIONS_FOLDER),
            documents_of_jobs("model versions", versions, end=discard, leases=registry.leases),
            documents("models", database["models"]),
            folders("local copies of models", data / BASES_FOLDER),
            folders("downloads", data / DOWNLOADS_FOLDER, covers=("folder:data_dir",)),
            objects("model files", backend.objects, settings.exchange_bucket),
        ]
    }


def folders_of_deleted_projects(backend: Backend, data_dir: Path) -> Worker:
    """Return the sweep of this process's own disk, where another one does the steps."""
    deleted = backend.access.revocations.deleted
    roots = [data_dir / name for name in (RUNS_FOLDER, BASES_FOLDER, DOWNLOADS_FOLDER, DERIVATIONS_FOLDER)]
    return Worker("deleted_projects", lambda: sweep_folders(roots, deleted=deleted, spares=backend.holds.spares))
