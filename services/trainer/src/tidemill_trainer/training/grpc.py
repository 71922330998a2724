"""gRPC TrainingService: plans and runs."""

import json

from tidemill.trainer.v1 import training_service_pb2 as pb
from tidemill.trainer.v1.training_service_pb2_grpc import TrainingServiceServicer
from tidemill_kit.grpc.server import current_caller, page_of, paths_of, request_of, write_of
from tidemill_trainer.training.crud import CHANGEABLE, TrainingPlanCrud
from tidemill_trainer.training.import_run import ImportRun
from tidemill_trainer.training.messages import (
    cluster_of,
    imported_of,
    listed_run_message,
    notes_of,
    plan_message,
    run_message,
    settings_of,
)
from tidemill_trainer.training.render_manifest import RenderManifest, TrainingSource
from tidemill_trainer.training.runs import DESCRIBED, TrainingRunCrud


class GrpcTrainingService(TrainingServiceServicer):
    """Message -> use case -> message; errors are translated by the server's interceptor."""

    def __init__(
        self, plans: TrainingPlanCrud, runs: TrainingRunCrud, import_run: ImportRun, render_manifest: RenderManifest
    ) -> None:
        self._plans = plans
        self._runs = runs
        self._import_run = import_run
        self._render_manifest = render_manifest

    async def CreateTrainingPlan(
        self, request: pb.CreateTrainingPlanRequest, _context: object
    ) -> pb.CreateTrainingPlanResponse:
        """Create a plan."""
        plan = await self._plans.create(
            current_caller(),
            request.plan.id,
            settings_of(request.plan),
            write_of(request),
        )
        return pb.CreateTrainingPlanResponse(plan=plan_message(plan))

    async def GetTrainingPlan(self, request: pb.GetTrainingPlanRequest, _context: object) -> pb.GetTrainingPlanResponse:
        """Return one plan."""
        plan = await self._plans.get(current_caller(), request.id)
        return pb.GetTrainingPlanResponse(plan=plan_message(plan))

    async def ListTrainingPlans(
        self, request: pb.ListTrainingPlansRequest, _context: object
    ) -> pb.ListTrainingPlansResponse:
        """Return a page of plans."""
        page = await self._plans.list(current_caller(), page_of(request, filters={"dataset": "dataset"}))
        return pb.ListTrainingPlansResponse(
            plans=[plan_message(plan) for plan in page.items], next_page_token=page.next_token
        )

    async def UpdateTrainingPlan(
        self, request: pb.UpdateTrainingPlanRequest, _context: object
    ) -> pb.UpdateTrainingPlanResponse:
        """Change the fields that the mask names."""
        plan = await self._plans.update(
            current_caller(),
            request.plan.id,
            settings_of(request.plan),
            paths_of(request.update_mask, allowed=CHANGEABLE),
            write_of(request, etag=request.plan.etag),
        )
        return pb.UpdateTrainingPlanResponse(plan=plan_message(plan))

    async def DeleteTrainingPlan(
        self, request: pb.DeleteTrainingPlanRequest, _context: object
    ) -> pb.DeleteTrainingPlanResponse:
        """Delete a plan."""
        plan = await self._plans.delete(current_caller(), request.id, write_of(request))
        return pb.DeleteTrainingPlanResponse(plan=plan_message(plan))

    async def StartTrainingRun(
        self, request: pb.StartTrainingRunRequest, _context: object
    ) -> pb.StartTrainingRunResponse:
        """Start a run on request."""
        run = await self._runs.start(
            current_caller(),
            request.plan,
            dataset_version=request.dataset_version,
            priority=request.priority if request.HasField("priority") else None,
            write=write_of(request),
        )
        return pb.StartTrainingRunResponse(run=run_message(run))

    async def GetTrainingRun(self, request: pb.GetTrainingRunRequest, _context: object) -> pb.GetTrainingRunResponse:
        """Return one run."""
        return pb.GetTrainingRunResponse(run=run_message(await self._runs.get(current_caller(), request.id)))

    async def ListTrainingRuns(
        self, request: pb.ListTrainingRunsRequest, _context: object
    ) -> pb.ListTrainingRunsResponse:
        """Return a page of runs."""
        page = await self._runs.list(
            current_caller(),
            page_of(request, filters={"plan": "plan", "sweep": "sweep"}),
            plan=request.plan,
            exclude_trials=request.exclude_trials,
        )
        return pb.ListTrainingRunsResponse(
            runs=[listed_run_message(run) for run in page.items], next_page_token=page.next_token
        )

    async def UpdateTrainingRun(
        self, request: pb.UpdateTrainingRunRequest, _context: object
    ) -> pb.UpdateTrainingRunResponse:
        """Change the notes or labels of a run."""
        run = await self._runs.describe(
            current_caller(),
            request.run.id,
            notes_of(request.run),
            paths_of(request.update_mask, allowed=DESCRIBED),
            write_of(request, etag=request.run.etag),
        )
        return pb.UpdateTrainingRunResponse(run=run_message(run))

    async def ImportTrainingRun(
        self, request: pb.ImportTrainingRunRequest, _context: object
    ) -> pb.ImportTrainingRunResponse:
        """Record a run of another tool."""
        run = await self._import_run(current_caller(), imported_of(request), write_of(request))
        return pb.ImportTrainingRunResponse(run=run_message(run))

    async def DeleteTrainingRun(
        self, request: pb.DeleteTrainingRunRequest, _context: object
    ) -> pb.DeleteTrainingRunResponse:
        """Delete an imported run."""
        run = await self._runs.delete(current_caller(), request.id, write_of(request))
        return pb.DeleteTrainingRunResponse(run=run_message(run))

    async def CancelTrainingRun(
        self, request: pb.CancelTrainingRunRequest, _context: object
    ) -> pb.CancelTrainingRunResponse:
        """Cancel a run."""
        run = await self._runs.cancel(current_caller(), request.id, request=request_of(request))
        return pb.CancelTrainingRunResponse(run=run_message(run))

    async def RetryTrainingRun(
        self, request: pb.RetryTrainingRunRequest, _context: object
    ) -> pb.RetryTrainingRunResponse:
        """Queue a run again."""
        run = await self._runs.retry(current_caller(), request.id, request=request_of(request))
        return pb.RetryTrainingRunResponse(run=run_message(run))

    async def RenderTrainingManifest(
        self, request: pb.RenderTrainingManifestRequest, _context: object
    ) -> pb.RenderTrainingManifestResponse:
        """Return Kubernetes objects of a training on several machines."""
        source = TrainingSource(run=request.run, plan=request.plan, dataset_version=request.dataset_version)
        objects = await self._render_manifest(current_caller(), source, cluster_of(request))
        return pb.RenderTrainingManifestResponse(objects=[json.dumps(each) for each in objects])
