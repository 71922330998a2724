"""Training: plans, their runs, and waiting for one."""

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from tidemill.trainer.v1.training_pb2 import TrainingPlan, TrainingRun, TrainingRunState
from tidemill.trainer.v1.training_service_pb2 import (
    CancelTrainingRunRequest,
    DeleteTrainingRunRequest,
    GetTrainingPlanRequest,
    GetTrainingRunRequest,
    ImportTrainingRunRequest,
    ListTrainingPlansRequest,
    ListTrainingRunsRequest,
    RenderTrainingManifestRequest,
    RetryTrainingRunRequest,
    StartTrainingRunRequest,
    UpdateTrainingRunRequest,
)
from tidemill_client.connection import Connection
from tidemill_client.pages import each, filter_of
from tidemill_client.waiting import poll

PATIENCE_S = 3600.0
ENDED = frozenset(
    {
        TrainingRunState.TRAINING_RUN_STATE_SUCCEEDED,
        TrainingRunState.TRAINING_RUN_STATE_FAILED,
        TrainingRunState.TRAINING_RUN_STATE_CANCELLED,
        TrainingRunState.TRAINING_RUN_STATE_MEASURED,
        TrainingRunState.TRAINING_RUN_STATE_PRUNED,
        TrainingRunState.TRAINING_RUN_STATE_IMPORTED,
    }
)
"""Terminal states."""


class Training:
    """The training plans and runs of a project."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def plan(self, plan: str) -> TrainingPlan:
        """Return a plan."""
        return (await self._connection.training.GetTrainingPlan(GetTrainingPlanRequest(id=plan))).plan

    def plans(self) -> AsyncIterator[TrainingPlan]:
        """Yield the plans, oldest first."""
        return each(self._connection.training.ListTrainingPlans, ListTrainingPlansRequest(), lambda page: page.plans)

    async def start(
        self,
        plan: str,
        *,
        dataset_version: str = "",
        priority: int | None = None,
        request_id: str = "",
        validate_only: bool = False,
    ) -> TrainingRun:
        """Start a run now, on the newest or the given `dataset@number`; with the plan's priority if it is None.

        With `validate_only` nothing is started, and the run is returned as it would be queued.
        """
        request = StartTrainingRunRequest(
            plan=plan,
            dataset_version=dataset_version,
            priority=priority,
            request_id=request_id,
            validate_only=validate_only,
        )
        return (await self._connection.training.StartTrainingRun(request)).run

    async def run(self, run: str) -> TrainingRun:
        """Return a run with its progress and losses."""
        return (await self._connection.training.GetTrainingRun(GetTrainingRunRequest(id=run))).run

    def runs(self, *, plan: str = "", sweep: str = "", exclude_trials: bool = False) -> AsyncIterator[TrainingRun]:
        """Yield the runs, oldest first and without curves; of a plan, or of a sweep."""
        request = ListTrainingRunsRequest(filter=filter_of(plan=plan, sweep=sweep), exclude_trials=exclude_trials)
        return each(self._connection.training.ListTrainingRuns, request, lambda page: page.runs)

    async def describe(
        self, run: str, *, notes: str | None = None, labels: Mapping[str, str] | None = None, etag: str = ""
    ) -> TrainingRun:
        """Set the notes or the labels of a run; None leaves them as they are."""
        given = {"notes": notes, "labels": labels}
        request = UpdateTrainingRunRequest(
            run=TrainingRun(id=run, etag=etag, notes=notes or "", labels=labels or {}),
            update_mask=FieldMask(paths=[name for name, value in given.items() if value is not None]),
        )
        return (await self._connection.training.UpdateTrainingRun(request)).run

    async def record(self, recorded: ImportTrainingRunRequest, *, validate_only: bool = False) -> TrainingRun:
        """Record a run of another tool, once for each source."""
        request = ImportTrainingRunRequest()
        request.CopyFrom(recorded)
        request.validate_only = validate_only
        return (await self._connection.training.ImportTrainingRun(request)).run

    async def delete(self, run: str) -> TrainingRun:
        """Delete a run that was recorded by another tool."""
        return (await self._connection.training.DeleteTrainingRun(DeleteTrainingRunRequest(id=run))).run

    async def manifest(self, asked: RenderTrainingManifestRequest) -> Sequence[Mapping[str, Any]]:
        """Return Kubernetes objects that train a run's or a plan's recipe on several machines; nothing is started."""
        rendered = await self._connection.training.RenderTrainingManifest(asked)
        return [json.loads(each) for each in rendered.objects]

    async def cancel(self, run: str) -> TrainingRun:
        """Cancel a run; no model version is registered."""
        return (await self._connection.training.CancelTrainingRun(CancelTrainingRunRequest(id=run))).run

    async def retry(self, run: str) -> TrainingRun:
        """Queue a failed or cancelled run again; it resumes from its last checkpoint."""
        return (await self._connection.training.RetryTrainingRun(RetryTrainingRunRequest(id=run))).run

    async def wait(
        self, run: str, *, within_s: float = PATIENCE_S, watch: Callable[[TrainingRun], None] = lambda _run: None
    ) -> TrainingRun:
        """Wait until a run is in a terminal state, and return it.

        Raises:
            DeadlineExceeded: `within_s` has passed; the run continues.

        """
        return await poll(
            lambda: self.run(run),
            lambda found: found.state in ENDED,
            what=f"training run {run}",
            within_s=within_s,
            watch=watch,
        )
