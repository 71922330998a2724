"""Stored form of sweeps, and those that have something to do."""

from tidemill_kit.mapping import DocumentCodec, Form
from tidemill_kit.store.mongo import Collection
from tidemill_kit.workers.pending import PendingDocuments
from tidemill_trainer.sweeps.domain.sweep import Sweep
from tidemill_trainer.sweeps.messages import sweep_event
from tidemill_trainer.training.domain.plan import RunLimits

SWEEPS = DocumentCodec(Sweep, {RunLimits: Form(renames={"time": "time_s"})}, event=sweep_event)


def open_sweeps(sweeps: Collection) -> PendingDocuments:
    """Find the sweeps that may have runs to start or to end, oldest first."""
    return PendingDocuments(sweeps, {"state.open": True, "deleted": False}, index="state.open", oldest_first=True)
