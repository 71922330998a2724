"""What the controllers have to do, found in versions, runs and plans themselves."""

from tidemill_core.application import ResourceKey
from tidemill_kit.store.mongo import Collection
from tidemill_kit.workers.pending import PendingDocuments
from tidemill_trainer.domain.model_version import VersionState
from tidemill_trainer.domain.training_run import IN_WORK


def _key(project: str, resource: str) -> ResourceKey:
    return ResourceKey(project=project, id=resource)


def pending_imports(versions: Collection) -> PendingDocuments[ResourceKey]:
    """Find the versions that wait for their import."""
    where = {"state.state": VersionState.IMPORTING.value, "deleted": False}
    return PendingDocuments(versions, where, index="state.state", key=_key)


def pending_runs(runs: Collection) -> PendingDocuments[ResourceKey]:
    """Find the unfinished runs."""
    where = {"state.state": {"$in": sorted(state.value for state in IN_WORK)}, "deleted": False}
    return PendingDocuments(runs, where, index="state.state", key=_key)


def deferring_plans(plans: Collection) -> PendingDocuments[ResourceKey]:
    """Find the unpaused plans that still have a deferred run, because the process that resumed them crashed."""
    where = {"state.owed.id": {"$gt": ""}, "state.paused": False, "deleted": False}
    return PendingDocuments(plans, where, index="state.owed.id", key=_key)
