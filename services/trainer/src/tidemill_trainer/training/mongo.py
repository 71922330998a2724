"""Stored forms of plans and runs, and those that have something to do."""

from tidemill_kit.mapping import DocumentCodec, Form, as_entries
from tidemill_kit.store.aggregates import Identity
from tidemill_kit.store.mongo import Collection, Document, count_up_to
from tidemill_kit.workers.pending import PendingDocuments
from tidemill_trainer.training.domain.plan import RunLimits, TrainingPlan
from tidemill_trainer.training.domain.run import IN_WORK, RunState, TrainingRun
from tidemill_trainer.training.messages import run_event

_LIMITS = Form(renames={"time": "time_s"})


def _written(_plan: TrainingPlan, state: Document) -> Document:
    """Return the state with the settings as its own fields; their labels are the plan's."""
    settings = {name: value for name, value in state["settings"].items() if name != "labels"}
    return settings | {"owed": state["owed"], "authors": state["authors"]}


def _read(state: Document, identity: Identity, _schema: int) -> Document:
    return state | {"settings": state | {"labels": identity.labels}}


PLANS = DocumentCodec(
    TrainingPlan,
    {RunLimits: _LIMITS, TrainingPlan: Form(renames={"deferred": "owed"})},
    on_write=_written,
    on_read=_read,
)
"""`owed` is what plans that are stored already call the deferred run."""
_RUN = Form(fields={"versions": as_entries("name", "version"), "parameters": as_entries("name", "value")})
RUNS = DocumentCodec(TrainingRun, {RunLimits: _LIMITS, TrainingRun: _RUN}, event=run_event)
RUN_LISTS = [
    ("plan",),
    ("state",),
    ("sweep",),
    ("trial.number",),
    ("plan", "trial.number"),
    ("sweep", "trial.number"),
]


class MongoImportedRuns:
    """Implements `ports.ImportedRuns`; the list by state has the index."""

    def __init__(self, runs: Collection) -> None:
        self._runs = runs

    async def count(self, project: str, *, up_to: int) -> int:
        """See `ImportedRuns.count`."""
        where = {"project": project, "deleted": False, "state.state": RunState.IMPORTED.value}
        return await count_up_to(self._runs, where, limit=up_to)


def pending_runs(runs: Collection) -> PendingDocuments:
    """Find the unfinished runs, oldest first."""
    where = {"state.state": {"$in": sorted(state.value for state in IN_WORK)}, "deleted": False}
    return PendingDocuments(runs, where, index="state.state", oldest_first=True)


def deferring_plans(plans: Collection) -> PendingDocuments:
    """Find the unpaused plans that still have a deferred run, because the process that resumed them crashed."""
    where = {"state.owed.id": {"$gt": ""}, "state.paused": False, "deleted": False}
    return PendingDocuments(plans, where, index="state.owed.id")
